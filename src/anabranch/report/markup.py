"""HTML that can't be forgotten to be escaped: whatever is not `Html` already is text, and text is escaped.

What is shown comes from tables, branch names and error messages, so all of it is hostile until it went through here.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

from anabranch.report.lines import clean

_VOID = {"meta", "br", "col", "link"}


class Html(str):
    """Markup, as opposed to text."""

    __slots__ = ()


Child = str | int | float | None | Iterable["Child"]


def text(value: str) -> Html:
    """A text as markup: escaped, and control and direction characters written out."""
    return Html(html.escape(clean(value), quote=True))


def join(*children: Any) -> Html:
    """Children one after the other: markup as it is, text escaped, None left out, lists flattened."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Html):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(text(child))
        elif isinstance(child, int | float):
            parts.append(str(child))
        elif child is not None:
            parts.append(join(*child))
    return Html("".join(parts))


def tag(name: str, /, *children: Any, **attributes: str | int | bool | None) -> Html:
    """An element. ``cls`` is ``class``, an underscore in an attribute's name a dash; None and False leave it out."""
    told = "".join(
        f" {('class' if key == 'cls' else key).replace('_', '-')}"
        + ("" if value is True else f'="{text(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False and value != ""
    )
    return Html(f"<{name}{told}>" if name in _VOID else f"<{name}{told}>{join(*children)}</{name}>")
