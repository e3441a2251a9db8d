"""What became of each asset and each check of a run: plain values, light to import, that every floor above tells on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from anabranch.catalog.base import Entry
from anabranch.dataclass import dataclass, field
from anabranch.pipeline.check import CheckResult
from anabranch.pipeline.fingerprint import combine
from anabranch.pipeline.graph import CheckNode
from anabranch.planning.changes import Reason
from anabranch.running.timeline import Bar

State = Literal["ran", "reused", "adopted", "failed", "blocked", "unselected"]


@dataclass(frozen=True)
class Outcome:
    """What became of one asset.

    Attributes:
        key: The asset.
        state: ran, reused (it stood), adopted (taken over by its pointer), failed, blocked (something upstream failed),
            unselected.
        entry: Its entry now, if it has one.
        before: Version before the run, or None.
        seconds: What the step took.
        error: For failed: plain values; see `StepResult`.
        cause: For blocked: the asset or check that blocks.
        attempts: How often it was tried.
        partitions: For an asset that is cut into partitions: which were made, adopted, failed or not tried; see `Cut.to_dict`.
        reasons: For what did not run: why it needn't.
    """

    key: str
    state: State
    entry: Entry | None = None
    before: str | None = None
    seconds: float = 0.0
    error: Mapping[str, Any] | None = None
    cause: str | None = None
    attempts: int = 1
    partitions: Mapping[str, Any] | None = None
    reasons: tuple[Reason, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "asset": self.key,
            "state": self.state,
            "version": self.entry.version if self.entry else None,
            "same_content": self.entry is not None and self.before == self.entry.version,
            "rows": self.entry.provenance.rows if self.entry else None,
            "bytes": self.entry.provenance.bytes if self.entry else None,
            "seconds": round(self.seconds, 3),
            "error": dict(self.error) if self.error else None,
            "cause": self.cause,
            "partitions": dict(self.partitions) if self.partitions is not None else None,
            "reasons": [reason.to_dict() for reason in self.reasons],
            "attempts": self.attempts,
        }


@dataclass(frozen=True)
class CheckOutcome:
    """What a check found on exactly these versions.

    Attributes:
        id: ``asset:check``.
        fingerprint: Of its code and the versions it read: the same again need not be run again.
        result: What it found, or None where its own code failed.
        error: For a check whose own code failed.
        cached: Whether it was known already.
        sample: The sample that it judged, ``5 % sample by customer_id``; empty where it judged all.
    """

    id: str
    asset: str
    name: str
    blocking: bool
    fingerprint: str
    result: CheckResult | None
    error: Mapping[str, Any] | None = None
    cached: bool = False
    sample: str = ""

    @property
    def passed(self) -> bool:
        """Whether it ran and was content."""
        return self.result is not None and self.result.passed

    @property
    def message(self) -> str:
        """One sentence."""
        if self.result is None:
            return str((self.error or {}).get("message", "it could not be run"))
        return self.result.message + (f" (of a {self.sample})" if self.sample else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        found = self.result
        return {
            "check": self.name,
            "asset": self.asset,
            "blocking": self.blocking,
            "passed": self.passed,
            "message": self.message,
            "failing": found.failing if found else None,
            "rows": found.rows if found else None,
            "samples": [dict(sample) for sample in found.samples] if found else [],
            "cached": self.cached,
            "sample": self.sample or None,
            "error": dict(self.error) if self.error else None,
        }


@dataclass
class Execution:
    """What came of a plan."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    checks: dict[str, CheckOutcome] = field(default_factory=dict)
    timeline: list[Bar] = field(default_factory=list)

    @property
    def failed(self) -> list[Outcome]:
        """Assets whose own code failed."""
        return [o for o in self.outcomes.values() if o.state == "failed"]

    @property
    def failed_checks(self) -> list[CheckOutcome]:
        """Blocking checks that did not pass."""
        return [c for c in self.checks.values() if c.blocking and not c.passed]

    @property
    def ok(self) -> bool:
        """Whether every step and every blocking check has passed."""
        return not self.failed and not self.failed_checks


def check_fingerprint(check: CheckNode, versions: Mapping[str, str]) -> str:
    """Hash of a check's code and of what it reads: the key under which its result is kept."""
    return combine("check", check.code, *(f"{key}={versions[key]}" for key in sorted(check.inputs)))
