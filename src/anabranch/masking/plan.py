"""What a sync of a masked environment has to do, table by table: nothing where parent and rules are as they were.

Judges entries and rules; reads of a table no more than its metadata, and that only where it has to be masked. Writes
nothing: a dry run is this plan, printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from anabranch.catalog.base import Entry, Provenance
from anabranch.columns import Rule, Tag
from anabranch.dataclass import dataclass, field
from anabranch.errors import LakeError, MaskError
from anabranch.masking.cuts import changed_partitions, is_cut
from anabranch.masking.policy import Policy
from anabranch.masking.values import masked_type

if TYPE_CHECKING:
    from anabranch.lake.tables import Table

Action = Literal["mask", "append", "partitions", "note", "same", "drop", "leave"]
KEPT = ("row_key", "resources")
"""What of a parent's further provenance its copy keeps."""


@dataclass(frozen=True)
class MaskStep:
    """What a sync does with one key.

    Attributes:
        key: The table or file.
        action: ``mask`` it anew; ``append``: mask the files that were added to it;
            ``partitions``: mask those of its partitions that have other content; ``note``: its data stands, its
            provenance has changed; ``same``: nothing; ``drop``: its parent is gone; ``leave``: a file that is not taken over.
        reason: Why, in a phrase.
        rules: Column → rule.
        undeclared: Columns that nobody has declared, and that are therefore masked.
        rows: Rows of the parent's table, or None.
        parent: The parent's entry; None for ``drop``.
        digest: Of the rules; see `Policy.digest`.
    """

    key: str
    action: Action
    reason: str
    rules: Mapping[str, str] = field(default_factory=dict)
    undeclared: tuple[str, ...] = ()
    rows: int | None = None
    parent: Entry | None = None
    digest: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "asset": self.key,
            "action": self.action,
            "reason": self.reason,
            "columns": dict(self.rules),
            "undeclared": list(self.undeclared),
            "rows": self.rows,
        }


class MaskPlanner:
    """Plans a sync.

    Args:
        policy: The environment's rules.
        tags: Key → what the code declares of its columns, or None where the code has no such asset.
        open_table: A handle on the table of an entry.
    """

    def __init__(
        self,
        policy: Policy,
        tags: Callable[[str], Mapping[str, Tag] | None],
        open_table: Callable[[Entry], Table],
    ) -> None:
        self.policy = policy
        self._tags = tags
        self._open = open_table

    def plan(self, parent: Mapping[str, Entry], have: Mapping[str, Entry]) -> tuple[MaskStep, ...]:
        """The steps, by key.

        Args:
            parent: What the parent holds, by key.
            have: What the masked environment holds, or what an interrupted sync has made for it.

        Raises:
            MaskError: a rule can't be applied to its column, or needs a key that the environment does not have.
        """
        gone = [MaskStep(key, "drop", "its parent is gone") for key in have if key not in parent]
        return tuple(
            sorted((self._step(entry, have.get(key)) for key, entry in parent.items()), key=lambda s: s.key)
        ) + tuple(sorted(gone, key=lambda s: s.key))

    def _step(self, entry: Entry, mine: Entry | None) -> MaskStep:
        if entry.kind == "file":
            return self._file(entry, mine)
        tags = self._tags(entry.key)
        if tags is None:
            from anabranch.columns import PROPERTY, decode_tags

            tags = decode_tags(self._open(entry).metadata.get("properties", {}).get(PROPERTY))
        digest = self.policy.digest(entry.key, tags)
        made = made_of(mine)
        if mine is not None and made is not None and mine.kind == "table" and made["rules"] == digest:
            told = dict(made["columns"]), tuple(made["undeclared"])
            before = mine.provenance.extra["parent"]
            if before["version"] == entry.version:
                same = before == parent_facts(entry, before["ref"]) and _same_origin(mine, entry)
                action: Action = "same" if same else "note"
                reason = "nothing changed" if same else "its data is the same, and was made anew"
                return MaskStep(entry.key, action, reason, *told, entry.provenance.rows, entry, digest)
            some = self._partitions(entry, mine, before["location"], told[0])
            if some is not None:
                reason = f"{some} of its partitions changed"
                return MaskStep(entry.key, "partitions", reason, *told, entry.provenance.rows, entry, digest)
            if self._appended(entry, before["location"]):
                reason = "files were added to it"
                return MaskStep(entry.key, "append", reason, *told, entry.provenance.rows, entry, digest)
            reason = "its parent has other content"
        else:
            reason = "it is new" if made is None else "its rules changed"
        rules, undeclared = self._rules(entry, tags)
        names = {column: str(rule) for column, rule in rules.items()}
        return MaskStep(
            entry.key, "mask", reason, names, tuple(undeclared), entry.provenance.rows, entry, digest
        )

    def _file(self, entry: Entry, mine: Entry | None) -> MaskStep:
        if entry.key not in self.policy.keep_files:
            gone: Action = "leave" if mine is None else "drop"
            return MaskStep(entry.key, gone, "it is a file that keep_files does not name", parent=entry)
        before = mine.provenance.extra.get("parent") if mine is not None else None
        if before is not None and before == parent_facts(entry, before["ref"]):
            return MaskStep(entry.key, "same", "nothing changed", parent=entry)
        return MaskStep(entry.key, "mask", "keep_files names it", parent=entry)

    def _rules(self, entry: Entry, tags: Mapping[str, Tag]) -> tuple[dict[str, Rule], list[str]]:
        schema = self._open(entry).schema
        rules, undeclared = self.policy.of_columns(entry.key, schema.names, tags)
        for column, rule in rules.items():
            name = f"{entry.key}.{column}"
            try:
                masked_type(rule, schema.field(column).type)
            except MaskError as error:
                raise MaskError(
                    f"{name}: {error.message}", hint=error.hint, key=entry.key, column=column
                ) from None
            if rule.keyed and not self.policy.key_id:
                raise MaskError(
                    f"{name} has the rule {rule}, and the environment has no key",
                    hint='add mask_key = "${STAGING_MASK_KEY}" to it in anabranch.toml, and set that variable',
                    key=entry.key,
                    column=column,
                )
        return rules, undeclared

    def _partitions(self, entry: Entry, mine: Entry, location: str, rules: Mapping[str, str]) -> int | None:
        """How many partitions of a table have to be masked anew or go; None where it is not masked by partitions."""
        new, copy = self._open(entry), self._open(mine)
        if copy.partition_map is None or not is_cut(new, rules):
            return None
        try:
            found = changed_partitions(self._open(Entry(entry.key, "table", location, "")), new)
        except LakeError:  # gc may have taken the earlier state
            return None
        return None if found is None else len(found[0] | found[1])

    def _appended(self, entry: Entry, location: str) -> bool:
        """Whether a table holds all files of its earlier state as they were, and some more."""
        new = self._open(entry)
        try:
            old = self._open(Entry(entry.key, "table", location, ""))
            return old.current_schema == new.current_schema and bool(added_files(old, new))
        except LakeError:  # gc may have taken the earlier state
            return False


def added_files(old: Table, new: Table) -> list[Any]:
    """The entries of the files that a table has beyond those of its earlier state; none where it is not an extension."""
    before, after = old.entries(), new.entries()
    if any(each["data_file"]["content"] for each in (*before, *after)):
        return []
    known = {each["data_file"]["file_path"] for each in before}
    if not known <= {each["data_file"]["file_path"] for each in after}:
        return []
    return [each for each in after if each["data_file"]["file_path"] not in known]


def made_of(entry: Entry | None) -> Mapping[str, Any] | None:
    """How a masked copy was masked; None for what is none."""
    if entry is None or "parent" not in entry.provenance.extra:
        return None
    found: Mapping[str, Any] | None = entry.provenance.extra.get("masked")
    return found


def parent_facts(entry: Entry, ref: str) -> dict[str, Any]:
    """What a copy records of its parent: enough for a plan to tell what production would make of it."""
    return {
        "ref": ref,
        "location": entry.location,
        "version": entry.version,
        "fingerprint": entry.provenance.fingerprint,
        "extra": {k: v for k, v in entry.provenance.extra.items() if k not in KEPT},
    }


def copied(parent: Provenance, **changed: Any) -> dict[str, Any]:
    """The fields of a parent's provenance that its copy has as well."""
    # Not what was observed outside: it may be a value of the data, such as a greatest id.
    names = ("code", "code_parts", "config", "config_parts", "inputs", "git_commit", "dirty")
    return {name: getattr(parent, name) for name in names} | changed


def _same_origin(mine: Entry, parent: Entry) -> bool:
    return copied(mine.provenance) == copied(parent.provenance)
