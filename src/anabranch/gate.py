"""The verdict on a candidate: it may be published, or the list of reasons why not.

Pure: it sees plain values that others have measured, and an environment's rules. It reads no table, asks no catalog and
knows no clock, so that the same candidate under the same rules has the same verdict whoever asks, and an approval that
is bound to the candidate's hash is bound to everything that was judged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

from anabranch.dataclass import dataclass, field
from anabranch.names import percent

TableState = Literal["added", "removed", "changed", "same"]
RuleName = Literal[
    "checks", "schema", "rows_removed", "approvals", "resources", "sample", "masked", "forward_only"
]

_UNKNOWN = 2**63  # more rows than any table has
_CANDIDATE_TAG = "anabranch candidate 1"


class Limit(Protocol):
    """A tolerated number of rows, or share of them; its text is what a person wrote: ``10%``."""

    def allows(self, count: int, total: int, /) -> bool:
        """Whether count of total rows is tolerated."""


class Rules(Protocol):
    """What an environment asks of a candidate.

    Attributes:
        checks: ``pass``: blocking checks must have passed on exactly this state; ``warn``: they only warn; ``ignore``.
        schema: ``compatible``: nothing that a reader may use goes; ``same``: no schema changes; ``any``.
        rows_removed: How many of a table's rows may go, or None for any number.
        approvals: Number of people other than the author who must have approved.
        resources: ``same``: computed with the resources of the environment; ``any``.
    """

    @property
    def checks(self) -> Literal["pass", "warn", "ignore"]: ...
    @property
    def schema(self) -> Literal["compatible", "same", "any"]: ...
    @property
    def rows_removed(self) -> Limit | None: ...
    @property
    def approvals(self) -> int: ...
    @property
    def resources(self) -> Literal["same", "any"]: ...


@dataclass(frozen=True)
class TableChange:
    """What the candidate does to one key.

    Attributes:
        key: The asset.
        kind: table or file.
        state: What becomes of it.
        rows_before: Rows that the environment has, or None where that can't be said.
        rows_after: Rows that it will have.
        rows_removed: Rows before that are not there after; None: not computed.
        schema_changed: Whether anything of the schema differs.
        schema_compatible: Whether what read the table before can read it after.
        schema_text: What differs, in sentences.
    """

    key: str
    kind: Literal["table", "file"] = "table"
    state: TableState = "changed"
    rows_before: int | None = None
    rows_after: int | None = None
    rows_removed: int | None = None
    schema_changed: bool = False
    schema_compatible: bool = True
    schema_text: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckOutcome:
    """What is known of one check.

    Attributes:
        id: ``delays:delays_have_carriers``.
        asset: Key of the asset that is judged.
        blocking: Whether its failure blocks.
        passed: None: it has not been run on this state.
        message: What it found, in a sentence.
    """

    id: str
    asset: str
    blocking: bool = True
    passed: bool | None = None
    message: str = ""


@dataclass(frozen=True)
class Approval:
    """Somebody's word for one state: who (as git names people), when, and the hash of the candidate."""

    by: str
    at: datetime
    candidate: str


@dataclass(frozen=True)
class Candidate:
    """A state as it would be published.

    Attributes:
        hash: See `candidate_hash`.
        environment: Where to.
        sandbox: Where from.
        author: Who made it, as git names people.
        tables: What it does, key by key.
        checks: What the checks say of it.
        approvals: All that were given for this sandbox, for whatever state.
        resources_differ: Asset → the resource with which it was computed and that the environment has otherwise.
        samples: Asset → the sample that it was computed from.
        masked: Asset → the masked environment that it was computed from.
        mixed: Asset → what of it older code has made and nobody has accepted yet.
        forward_only: Whether whoever publishes accepts that.
    """

    hash: str
    environment: str
    sandbox: str
    author: str = ""
    tables: Sequence[TableChange] = ()
    checks: Sequence[CheckOutcome] = ()
    approvals: Sequence[Approval] = ()
    resources_differ: Mapping[str, str] = field(default_factory=dict)
    samples: Mapping[str, str] = field(default_factory=dict)
    masked: Mapping[str, str] = field(default_factory=dict)
    mixed: Mapping[str, str] = field(default_factory=dict)
    forward_only: bool = False


@dataclass(frozen=True)
class GateReason:
    """One cause of a refusal or a warning.

    Attributes:
        rule: The rule that it is about.
        key: The asset, or None where it is about the whole.
        text: A sentence.
        hint: What to do about it.
    """

    rule: RuleName
    key: str | None
    text: str
    hint: str

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"rule": self.rule, "key": self.key, "text": self.text, "hint": self.hint}


@dataclass(frozen=True)
class Verdict:
    """What the gate says of the candidate of that hash: it passed if there is no reason."""

    passed: bool
    candidate: str
    reasons: tuple[GateReason, ...] = ()
    warnings: tuple[GateReason, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "passed": self.passed,
            "candidate": self.candidate,
            "reasons": [reason.to_dict() for reason in self.reasons],
            "warnings": [warning.to_dict() for warning in self.warnings],
        }


def candidate_hash(changes: Mapping[str, tuple[str, str] | None], definitions: str) -> str:
    """Identifies a state as it would be published; whoever approves, approves this.

    Args:
        changes: Key → its new ``(version, fingerprint)``, or None for a key that goes. The order says nothing.
        definitions: Hash of all assets' code.

    Returns:
        64 hexadecimal digits (SHA-256 of a tagged JSON text).
    """
    rows = [[key, None if value is None else list(value)] for key, value in sorted(changes.items())]
    text = json.dumps([_CANDIDATE_TAG, definitions, rows], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def judge(candidate: Candidate, rules: Rules) -> Verdict:
    """Holds a candidate against the rules of its environment.

    What was not measured is never taken for good: a blocking check that was not run and a number of removed rows that
    was not computed are reasons where the rules ask for them.
    """
    found = _Findings()
    _judge_parts(candidate, found)
    _judge_checks(candidate, rules, found)
    removals = _judge_schemas(candidate, rules, found)
    _judge_rows(candidate, rules, found, told=removals)
    _judge_resources(candidate, rules, found)
    _judge_mixtures(candidate, found)
    _judge_approvals(candidate, rules, found)
    return Verdict(not found.reasons, candidate.hash, tuple(found.reasons), tuple(found.warnings))


class _Findings:
    def __init__(self) -> None:
        self.reasons: list[GateReason] = []
        self.warnings: list[GateReason] = []

    def add(self, blocking: bool, rule: RuleName, key: str | None, text: str, hint: str) -> None:
        (self.reasons if blocking else self.warnings).append(GateReason(rule, key, text, hint))


def _judge_parts(candidate: Candidate, found: _Findings) -> None:
    """What is not the whole data, or not the data itself, is never published, whatever the rules say."""
    for key, sample in sorted(candidate.samples.items()):
        hint = "anabranch run --sample none computes it from all rows; then promote"
        found.add(True, "sample", key, f"{key} was computed from a {sample}", hint)
    for key, environment in sorted(candidate.masked.items()):
        hint = "publish the code: merge it, and run it on the environment"
        found.add(True, "masked", key, f"{key} was computed from the masked data of {environment}", hint)


def _judge_checks(candidate: Candidate, rules: Rules, found: _Findings) -> None:
    for check in sorted(candidate.checks, key=lambda c: c.id):
        blocks = check.blocking and rules.checks not in ("warn", "ignore")
        if check.passed is False:
            if check.blocking and rules.checks == "ignore":
                continue
            what = f"the check {check.id} failed"
            text = f"{what}: {check.message}" if check.message else what
            hint = f"mend {check.asset} or its check, then: anabranch run"
            found.add(blocks, "checks", check.asset, text, hint)
        elif check.passed is None and rules.checks != "ignore":
            why = f" ({check.message})" if check.message and "not run" not in check.message else ""
            text = f"the check {check.id} was not run on the state that would be published{why}"
            found.add(blocks, "checks", check.asset, text, "anabranch check")


def _judge_schemas(candidate: Candidate, rules: Rules, found: _Findings) -> set[str]:
    """Returns the removed keys that are a reason already."""
    told = set()
    strict = rules.schema != "any"
    for change in _sorted(candidate):
        if change.state == "removed":
            what = f"{change.kind} {change.key}"
            rows = f" and its {_rows(change.rows_before)}" if change.rows_before is not None else ""
            text = f"the {what}{rows} would no longer be in {candidate.environment}"
            found.add(strict, "schema", change.key, text, _schema_hint(candidate))
            if strict:
                told.add(change.key)
        elif change.state == "changed" and change.schema_changed:
            details = "; ".join(change.schema_text) or "columns were removed, renamed or narrowed"
            if not change.schema_compatible:
                text = f"what reads {change.key} may break: {details}"
                found.add(strict, "schema", change.key, text, _schema_hint(candidate))
            elif rules.schema == "same":
                details = "; ".join(change.schema_text) or "columns were added or widened"
                text = f"the schema of {change.key} changed: {details}"
                found.add(True, "schema", change.key, text, _schema_hint(candidate))
    return told


def _schema_hint(candidate: Candidate) -> str:
    return (
        "keep what readers use beside what is new, or, if all of them are ready, relax the rule: "
        f"environments.{candidate.environment}.promote.schema in anabranch.toml"
    )


def _judge_rows(candidate: Candidate, rules: Rules, found: _Findings, *, told: set[str]) -> None:
    limit = rules.rows_removed
    if limit is None:
        return
    for change in _sorted(candidate):
        if change.kind != "table" or change.state in ("added", "same") or change.key in told:
            continue
        before = change.rows_before
        everything = _UNKNOWN if before is None else before
        if limit.allows(everything, everything):
            continue
        removed, at_least = change.rows_removed, ""
        if removed is None and before is not None:
            if change.state == "removed":
                removed = before
            elif change.rows_after is not None:
                # Rows may have been replaced as well, so this many went for certain and perhaps more.
                removed, at_least = before - change.rows_after, "at least "
        hint = f"anabranch diff --select {change.key} shows them; environments.{candidate.environment}.promote.rows_removed is the limit"
        if removed is not None and before is not None and removed > 0 and not limit.allows(removed, before):
            share = f"{percent(removed, before)}, at most {_shown(limit)} allowed"
            text = f"{change.key} loses {at_least}{removed:,} of its {_rows(before)} ({share})"
            found.add(True, "rows_removed", change.key, text, hint)
        elif change.rows_removed is None and (change.state != "removed" or before is None):
            text = f"how many rows {change.key} loses was not computed, and at most {_shown(limit)} may go"
            found.add(
                True, "rows_removed", change.key, text, f"compute it: anabranch diff --select {change.key}"
            )


def _judge_resources(candidate: Candidate, rules: Rules, found: _Findings) -> None:
    for key, resource in sorted(candidate.resources_differ.items()):
        text = f"{key} was computed with another resource than that of {candidate.environment}: {resource}"
        hint = f"give both the same resource, or merge the branch and let anabranch run compute {key} in {candidate.environment}"
        found.add(rules.resources != "any", "resources", key, text, hint)


def _judge_mixtures(candidate: Candidate, found: _Findings) -> None:
    for key, text in sorted(candidate.mixed.items()):
        hint = (
            f"anabranch run --force --select {key} makes all of it with the code at hand; "
            "anabranch promote --forward-only publishes the mixture, and says so in the commit"
        )
        found.add(not candidate.forward_only, "forward_only", key, f"{key} is a mixture: {text}", hint)


def _judge_approvals(candidate: Candidate, rules: Rules, found: _Findings) -> None:
    if rules.approvals <= 0:
        return
    author = _person(candidate.author)
    people: dict[str, str] = {}
    void: dict[str, Approval] = {}
    own = False
    for approval in sorted(candidate.approvals, key=lambda a: (a.at, a.by)):
        who = _person(approval.by)
        if approval.candidate != candidate.hash:
            void[who] = approval
        elif who == author:
            own = True
        else:
            people[who] = approval.by
    for who, approval in void.items():
        if who not in people and who != author:
            text = (
                f"the approval of {approval.by} is void: it was given on {approval.at.isoformat(timespec='minutes')} "
                f"for the state {approval.candidate[:12]}, not for {candidate.hash[:12]}"
            )
            found.add(False, "approvals", None, text, "let them look at the present state and approve again")
    if len(people) >= rules.approvals:
        return
    given = f"{len(people)} by {', '.join(people.values())}" if people else "none"
    text = f"{_count(rules.approvals, 'approval')} of this state needed, {given} given"
    if own:
        text += "; the author's own does not count"
    found.add(True, "approvals", None, text, f"somebody else says: anabranch approve {candidate.sandbox}")


def _person(name: str) -> str:
    """Who it is: the address, where there is one, because one person's name is written in several ways."""
    address = name.rpartition("<")[2].removesuffix(">") if name.rstrip().endswith(">") else name
    return address.strip().casefold()


def _sorted(candidate: Candidate) -> list[TableChange]:
    return sorted(candidate.tables, key=lambda change: change.key)


def _shown(limit: Limit) -> str:
    return str(limit).replace("%", " %")


def _rows(number: int | None) -> str:
    return "rows" if number is None else _count(number, "row")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
