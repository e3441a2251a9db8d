"""When each step of a run ran, where, and what it waited for: small enough to be kept with the run's record.

Pure values; whoever runs steps notes them, and every report tells them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from anabranch.dataclass import dataclass

LIMIT = 1000
_MESSAGE = 500

BarState = Literal["ran", "failed", "retried", "passed", "warned"]


@dataclass(frozen=True)
class Bar:
    """One attempt of one step.

    Attributes:
        key: The step: the asset, ``asset:check``, or partitions of an asset (``flights[2013-12-01..2013-12-09]``).
        of: What others wait for by it: the asset, or ``asset:check``.
        kind: asset or check.
        attempt: 1, 2, …
        worker: Number of the worker, from 0.
        start: Seconds since the run's first step could start.
        seconds: What it took, the way to the worker and back included.
        waited: Seconds between the moment when all that it needs was there and its start.
        state: ran; retried: it failed and was tried again; failed; for a check passed, failed, or warned (it failed and
            does not block).
        after: The steps of this run that it had to wait for.
        message: Why it failed.
    """

    key: str
    of: str
    kind: Literal["asset", "check"]
    attempt: int
    worker: int
    start: float
    seconds: float
    waited: float
    state: BarState
    after: tuple[str, ...] = ()
    message: str = ""

    @property
    def end(self) -> float:
        """Seconds since the run's first step could start."""
        return self.start + self.seconds

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "step": self.key,
            "of": self.of,
            "kind": self.kind,
            "attempt": self.attempt,
            "worker": self.worker,
            "start": round(self.start, 3),
            "seconds": round(self.seconds, 3),
            "waited": round(self.waited, 3),
            "state": self.state,
            "after": list(self.after),
            "message": self.message,
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Bar:
        """The inverse of `to_dict`."""
        return cls(
            told["step"],
            told["of"],
            told["kind"],
            told["attempt"],
            told["worker"],
            told["start"],
            told["seconds"],
            told["waited"],
            told["state"],
            tuple(told["after"]),
            told["message"],
        )


def longest_chain(bars: Sequence[Bar]) -> list[Bar]:
    """The critical path: from the bar that ended last back over what each one waited for longest, first to last."""
    ends: dict[str, Bar] = {}
    for bar in bars:
        if bar.state != "retried" and (bar.of not in ends or ends[bar.of].end < bar.end):
            ends[bar.of] = bar
    tries = {(bar.key, bar.attempt): bar for bar in bars}
    chain: list[Bar] = []
    at = max(bars, key=lambda bar: bar.end, default=None)
    while at is not None and at not in chain:
        chain.append(at)
        before = [ends[key] for key in at.after if key in ends]
        earlier = tries.get((at.key, at.attempt - 1))
        at = earlier or max(before, key=lambda bar: bar.end, default=None)
    return chain[::-1]


def summary(bars: Iterable[Bar], *, limit: int = LIMIT) -> dict[str, Any]:
    """A timeline as plain JSON values, of bounded size: where there are more bars, the longest and the failed are kept.

    Returns:
        ``bars`` by start, ``critical_path`` (the steps' names), ``left_out`` (how many bars are not told) and ``seconds``.
    """
    every = sorted(bars, key=lambda bar: (bar.start, bar.key))
    chain = longest_chain(every)
    kept = sorted(
        every,
        key=lambda bar: (bar not in chain, bar.state not in ("failed", "retried"), -bar.seconds),
    )[:limit]
    there = set(kept)
    return {
        "bars": [_short(bar).to_dict() for bar in every if bar in there],
        "critical_path": list(dict.fromkeys(bar.key for bar in chain)),
        "left_out": len(every) - len(kept),
        "seconds": round(max((bar.end for bar in every), default=0.0), 3),
    }


def _short(bar: Bar) -> Bar:
    cut = bar.message if len(bar.message) <= _MESSAGE else f"{bar.message[:_MESSAGE]}…"
    return replace(bar, message=cut, after=bar.after[:50])
