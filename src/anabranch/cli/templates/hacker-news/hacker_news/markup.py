"""From the HTML of a comment to its words. A plain helper: when it changes, `comments` runs again, and nothing else."""

from __future__ import annotations

import html
import re

_PARAGRAPH = re.compile(r"\s*<p>\s*", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")


def plain(markup: str) -> str:
    r"""The text without tags; a paragraph begins on a new line.

    >>> plain("It&#x27;s <i>here</i><p>and there")
    "It's here\nand there"
    """
    return html.unescape(_TAG.sub("", _PARAGRAPH.sub("\n", markup))).strip()
