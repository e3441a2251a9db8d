"""A run as one page: when each step ran on which worker, why, and what it waited for.

The picture is drawn once, as SVG, and every word of it stands in the table below, too. Pure: a record in, a page out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anabranch.catalog.base import RunRecord
from anabranch.report.figures import counted
from anabranch.report.lines import duration, moment, width
from anabranch.report.markup import Html, join, tag
from anabranch.report.page import brand, document, facts, tile
from anabranch.running.timeline import Bar

_WIDE, _LEFT, _ROW, _TOP = 1080.0, 74.0, 30.0, 26.0
_CHARACTER = 6.6  # the width of a letter in a bar, in units of the picture
_STATES = {
    "ran": ("add", "ran"),
    "passed": ("same", "check passed"),
    "warned": ("mod", "check warns"),
    "retried": ("mod", "failed, tried again"),
    "failed": ("del", "failed"),
}


def run_page(run: RunRecord, *, title: str, target: str = "") -> str:
    """The page of a run's record.

    Args:
        run: The record; one that was made before timelines were kept has none, and says so.
        title: The page's heading.
        target: Name of the environment or sandbox.
    """
    made = run.properties
    told = made.get("timeline") or {}
    bars = [Bar.from_dict(one) for one in told.get("bars", ())]
    chain = list(told.get("critical_path", ()))
    reasons: Mapping[str, Sequence[str]] = made.get("reasons", {})
    header = tag(
        "header",
        brand("anabranch run"),
        tag("h1", title),
        facts(
            {
                "state": run.state,
                "target": target or None,
                "started": moment(run.started_at),
                "by": made.get("author") or None,
                "git commit": run.git_commit,
                "published as": made.get("commit"),
            }
        ),
        cls="top",
    )
    main = tag(
        "main",
        _tiles(run, bars),
        _errors(made),
        _chart(bars, chain, told) if bars else _nothing(),
        _steps(bars, chain, reasons, told) if bars else None,
        _rest(made),
        id="steps",
    )
    return document(title, header, main, skip=("Skip to the steps", "steps"))


def _tiles(run: RunRecord, bars: Sequence[Bar]) -> Html:
    made = run.properties
    assets = made.get("assets", ())
    states = [asset["state"] for asset in assets]
    failed = states.count("failed")
    checks = made.get("checks", ())
    bad = sum(not check["passed"] for check in checks)
    retried = sum(bar.state == "retried" for bar in bars)
    seconds = made.get("seconds")
    return tag(
        "section",
        tile(duration(float(seconds)) if seconds is not None else "–", run.state),
        tile(f"{states.count('ran'):,}", f"of {counted(len(assets), 'asset')} ran"),
        tile(f"{states.count('reused') + states.count('adopted'):,}", "reused"),
        tile(f"{failed:,}", f"failed, {states.count('blocked'):,} blocked by that", "del" if failed else ""),
        tile(f"{len(checks) - bad:,}", f"of {counted(len(checks), 'check')} passed", "mod" if bad else ""),
        tile(f"{retried:,}", "tried again", "mod") if retried else None,
        cls="tiles",
        aria_label="Totals",
    )


def _errors(made: Mapping[str, Any]) -> Html | None:
    error = made.get("error")
    warnings = [tag("p", told, cls="note") for told in made.get("warnings", ())]
    if error:
        warnings.insert(0, tag("p", f"{error.get('type')}: {error.get('message')}", cls="note"))
    return join(warnings) if warnings else None


# the picture


def _chart(bars: Sequence[Bar], chain: Sequence[str], told: Mapping[str, Any]) -> Html:
    seconds = max([float(told.get("seconds") or 0.0), 0.001, *(bar.end for bar in bars)])
    workers = sorted({bar.worker for bar in bars})
    high = _TOP + _ROW * len(workers) + 8
    scale = (_WIDE - _LEFT - 12) / seconds
    lanes = [
        join(
            tag("text", f"worker {worker + 1}", x=0, y=_number(_TOP + _ROW * row + 19), cls="lane"),
            [
                _bar(bar, _LEFT + bar.start * scale, _TOP + _ROW * row + 4, bar.seconds * scale, chain)
                for bar in bars
                if bar.worker == worker
            ],
        )
        for row, worker in enumerate(workers)
    ]
    picture = tag(
        "svg",
        [_tick(at, _LEFT + at * scale, high) for at in _ticks(seconds)],
        lanes,
        viewBox=f"0 0 {_number(_WIDE)} {_number(high)}",
        role="img",
        aria_label=f"{counted(len(bars), 'step')} on {counted(len(workers), 'worker')} in {duration(seconds)};"
        " the table below tells each",
        cls="gantt",
    )
    states = {bar.state for bar in bars}
    legend = [
        tag("li", tag("i", cls=f"i-{color}"), words)
        for state, (color, words) in _STATES.items()
        if state in states
    ]
    path = " → ".join([*chain[:8], *(["…"] if len(chain) > 8 else [])])
    return tag(
        "section",
        tag(
            "div",
            tag("h2", "Timeline"),
            tag("div", picture, cls="scroll bare", tabindex="0", role="region", aria_label="Timeline"),
            tag("ul", legend, tag("li", tag("i", cls="i-path"), "on the critical path"), cls="legend"),
            tag("p", "critical path: ", tag("code", path), cls="meta last") if chain else None,
            cls="inside",
        ),
        cls="card",
    )


def _bar(bar: Bar, x: float, y: float, wide: float, chain: Sequence[str]) -> Html:
    color, words = _STATES[bar.state]
    wide = max(wide, 1.5)
    told = f"{_name(bar)}: {words}, {duration(bar.seconds)} from {duration(bar.start)} on"
    if bar.waited >= 0.05:
        told += f", after {duration(bar.waited)} of waiting"
    fits = wide > (width(bar.key) + 2) * _CHARACTER
    return tag(
        "g",
        tag("title", told),
        tag(
            "rect",
            x=_number(x),
            y=_number(y),
            width=_number(wide),
            height=_number(_ROW - 8),
            rx=_number(min(4.0, wide / 2)),
            cls=f"b-{color}" + (" path" if bar.key in chain else ""),
        ),
        tag("text", bar.key, x=_number(x + 6), y=_number(y + 15), cls="in") if fits else None,
    )


def _tick(at: float, x: float, high: float) -> Html:
    return join(
        tag("line", x1=_number(x), x2=_number(x), y1=_number(_TOP - 4), y2=_number(high), cls="grid"),
        tag("text", duration(at) if at else "0", x=_number(x + 3), y=12, cls="tick"),
    )


def _ticks(seconds: float) -> list[float]:
    """Round moments, some six of them."""
    step = next(
        (
            base * unit
            for unit in (0.001, 0.01, 0.1, 1, 60, 3600, 86_400, 864_000)
            for base in ((1, 2, 5, 10, 15, 30) if unit in (1, 60) else (1, 2, 5))
            if base * unit * 8 >= seconds
        ),
        seconds / 6,
    )
    return [step * number for number in range(int(seconds / step) + 1)]


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


# the table


def _steps(
    bars: Sequence[Bar], chain: Sequence[str], reasons: Mapping[str, Sequence[str]], told: Mapping[str, Any]
) -> Html:
    columns = (
        ("Step", ""), ("State", ""), ("Worker", "num"), ("Starts at", "num"), ("Waited", "num"), ("Took", "num"), ("Why", ""),
    )  # fmt: skip
    left = int(told.get("left_out") or 0)
    return tag(
        "section",
        tag(
            "div",
            tag("h2", "Steps"),
            tag(
                "div",
                tag(
                    "table",
                    tag("caption", "Every step in the order in which they started", cls="only-read"),
                    tag("thead", tag("tr", [tag("th", name, scope="col", cls=cls) for name, cls in columns])),
                    tag("tbody", [_step(bar, chain, reasons) for bar in bars]),
                    cls="steps",
                ),
                cls="scroll",
                tabindex="0",
                role="region",
                aria_label="Steps",
            ),
            tag("p", f"{counted(left, 'shorter step')} left out", cls="dim") if left else None,
            cls="inside",
        ),
        cls="card",
    )


def _step(bar: Bar, chain: Sequence[str], reasons: Mapping[str, Sequence[str]]) -> Html:
    color, words = _STATES[bar.state]
    badge = color if color != "same" else ""
    why = bar.message or "; ".join(reasons.get(bar.of, ()))
    return tag(
        "tr",
        tag(
            "th",
            tag("code", _name(bar)),
            tag("span", "critical", cls="badge path") if bar.key in chain else None,
            scope="row",
        ),
        tag("td", tag("span", words, cls=f"badge {badge}".strip())),
        tag("td", str(bar.worker + 1), cls="num"),
        tag("td", duration(bar.start), cls="num"),
        tag("td", duration(bar.waited) if bar.waited >= 0.001 else "–", cls="num"),
        tag("td", duration(bar.seconds), cls="num"),
        tag("td", why),
    )


def _name(bar: Bar) -> str:
    return bar.key if bar.attempt == 1 and bar.state != "retried" else f"{bar.key} (try {bar.attempt})"


def _rest(made: Mapping[str, Any]) -> Html | None:
    """What did not run: blocked, with the cause, and what stood."""
    blocked = [a for a in made.get("assets", ()) if a["state"] == "blocked"]
    reused = [a["asset"] for a in made.get("assets", ()) if a["state"] in ("reused", "adopted")]
    parts: list[Html] = []
    if blocked:
        items = [tag("li", tag("code", a["asset"]), f" because {a['cause']} failed") for a in blocked[:500]]
        parts.append(join(tag("h3", "Did not run"), tag("ul", items, cls="names")))
    if reused:
        names = [tag("li", tag("code", name)) for name in reused[:500]]
        words = f"{counted(len(reused), 'asset')} {'was' if len(reused) == 1 else 'were'} reused"
        parts.append(tag("details", tag("summary", words), tag("ul", names, cls="names")))
    return tag("section", tag("div", parts, cls="inside"), cls="card") if parts else None


def _nothing() -> Html:
    words = "No step has run", "Either all of it stood, or this run was recorded before timelines were kept."
    return tag(
        "section", tag("div", tag("h2", words[0]), tag("p", words[1], cls="dim"), cls="inside"), cls="card"
    )
