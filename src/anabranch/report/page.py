"""The frame of every page that is written: one file that needs no network, no script and no explanation.

What is shown is hostile until it is escaped (`anabranch.report.markup` sees to that), and the page itself forbids every
script and every fetch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anabranch.report.markup import Html, join, tag
from anabranch.report.style import CSS, LOGO

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def document(title: str, header: Html, main: Html, *, skip: tuple[str, str]) -> str:
    """A whole HTML document that fetches nothing.

    Args:
        title: Of the window.
        header, main: The page's two parts.
        skip: Text and id of the place in main that a reader without eyes jumps to.
    """
    words, target = skip
    body = join(
        tag("a", words, cls="skip", href=f"#{target}"),
        header,
        main,
        tag("footer", "Written by anabranch. This file is complete in itself and loads nothing."),
    )
    head = join(
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        # Not by keyword: the attribute's name is no Python name.
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        Html(f"<style>{CSS}</style>"),
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def brand(words: str) -> Html:
    """The sign above a page's heading."""
    return tag("div", Html(LOGO), words, cls="brand")


def facts(details: Mapping[str, Any]) -> Html | None:
    """Facts for the head of a page, name → value; None values are left out."""
    told = [
        tag("div", tag("dt", name), tag("dd", str(value)))
        for name, value in details.items()
        if value is not None
    ]
    return tag("dl", told, cls="facts") if told else None


def tile(figure: str, words: str, color: str = "") -> Html:
    """One figure among the totals."""
    return tag("div", tag("b", figure), tag("span", words), cls=f"tile {color}".strip())
