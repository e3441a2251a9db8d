"""A masked environment beside its meaning, driven at random: whatever is committed, ruled, synced, rolled back or cut off
halfway, it is the parent at one commit, masked by one set of rules; and nowhere below its prefix is an unmasked value.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from masked_world import unpacked, values_of

from anabranch.catalog.base import Branch, CommitRequest, Entry, Point, Provenance
from anabranch.catalog.memory import MemoryCatalog
from anabranch.columns import KEEP, NULL, Rule, Tag, keep, parse_rule
from anabranch.lake.storage import Scope, Storage
from anabranch.lake.tables import Table, append_table, write_table
from anabranch.masking.cipher import Key
from anabranch.masking.policy import Policy
from anabranch.masking.sync import Masker
from anabranch.masking.values import mask_array
from effort import effort

TABLES = ("people", "orders", "marts.towns")
COLUMNS = ("name", "code", "note")
KEYS = [Key(f"secret number {n} of the machine") for n in range(2)]
RULES: dict[str, list[Rule | None]] = {
    "name": [parse_rule("hash"), parse_rule("fake:name"), NULL, None],
    "code": [parse_rule("hash"), parse_rule("bucket:1000000000000"), NULL, None],
    "note": [KEEP, NULL, None],
}


class Cut(BaseException):
    """What a kill is to a program: it stops, and nothing is put in order."""


class Masks(RuleBasedStateMachine):
    """Random histories of a parent and its masked copy."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="masks-"))
        self.catalog = MemoryCatalog()
        self.outside = Storage(self.folder, scope=Scope.environment())
        self.parent = self.catalog.open_branch("production", kind="environment")
        properties = {"derived_from": "production", "storage": "staging-1"}
        self.environment = self.catalog.open_branch("staging", kind="environment", properties=properties)
        self.masks: dict[str, dict[str, Rule | None]] = {
            key: {"name": None, "code": None, "note": None} for key in TABLES
        }
        self.key = 0
        self.count = 0
        self.secrets: set[str] = set()
        # Every state that staging has been given: parent's commit → what it must hold.
        self.allowed: list[dict[str, list[dict]]] = [{}]
        self.commit_table("people", grow=False)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    # the outside

    def rows(self) -> pa.Table:
        names, codes, notes = [], [], []
        for _ in range(3):
            self.count += 1
            names.append(f"CANARY{self.count}")
            codes.append(7_000_000_000_000 + self.count * 7919)
            notes.append(f"harmless {self.count % 3}")
        self.secrets |= {*names, *map(str, codes)}
        return pa.table({"name": names, "code": codes, "note": notes})

    def now(self, branch: Branch) -> Branch:
        return self.catalog.branch_by_id(branch.id)

    def commit_table(self, key: str, *, grow: bool) -> None:
        parent = self.now(self.parent)
        before = self.catalog.get(parent.point, key)
        if grow and before is not None:
            old = Table(key, before.location, self.outside, version=before.version)
            done = append_table(self.outside, key, self.rows(), previous=old)
        else:
            done = write_table(self.outside, key, self.rows())
        made = Provenance(fingerprint=f"f{self.count}", rows=done.rows, bytes=done.bytes)
        self.catalog.commit(
            CommitRequest(
                branch=parent.id,
                changes={key: Entry(key, "table", done.location, done.version, made)},
                git_commit=f"c{self.count}",
            )
        )

    @rule(key=st.sampled_from(TABLES), grow=st.booleans())
    def the_parent_is_committed_to(self, key: str, grow: bool) -> None:
        self.commit_table(key, grow=grow)

    @rule(key=st.sampled_from(TABLES))
    def a_table_of_the_parent_goes(self, key: str) -> None:
        self.catalog.commit(CommitRequest(branch=self.parent.id, changes={key: None}, git_commit="c"))

    @rule(key=st.sampled_from(TABLES), column=st.sampled_from(COLUMNS), data=st.data())
    def a_rule_changes(self, key: str, column: str, data: st.DataObject) -> None:
        self.masks[key][column] = data.draw(st.sampled_from(RULES[column]))

    @rule()
    def the_key_changes(self) -> None:
        self.key = 1 - self.key

    # the sync

    def masker(self) -> Masker:
        key = KEYS[self.key]
        named = {f"{table}.name": r for table, rules in self.masks.items() if (r := rules["name"])}

        def tags(table: str) -> dict[str, Tag]:
            found = {}
            for column in ("code", "note"):
                own = self.masks[table][column]
                if own is not None:
                    found[column] = keep if own == KEEP else Tag("pii", own)
            return found

        storage = Storage(self.folder, scope=Scope.masked("staging-1"))
        return Masker(self.catalog, storage, Policy(named, key.id, (), "1"), key, tags)

    def wanted(self) -> dict[str, list[dict]]:
        """What the environment must hold once it is synced now, by the meaning of the rules alone."""
        found = {}
        for key, entry in self.catalog.entries(self.now(self.parent).point).items():
            table = Table(key, entry.location, self.outside).to_arrow()
            columns = {
                name: mask_array(table[name].combine_chunks(), self.masks[key][name] or NULL, KEYS[self.key])
                for name in table.column_names
            }
            found[key] = pa.table(columns).to_pylist()
        return found

    @rule()
    def it_is_synced(self) -> None:
        wanted = self.wanted()
        result = self.masker().sync(self.now(self.environment), self.now(self.parent))
        self.allowed.append(wanted)
        assert self.held() == wanted
        assert result.undeclared == {
            key: tuple(c for c in COLUMNS if self.masks[key][c] is None)
            for key in wanted
            if any(self.masks[key][c] is None for c in COLUMNS)
        }
        again = self.masker().sync(self.now(self.environment), self.now(self.parent))
        assert again.state == "nothing"
        assert again.rows == 0

    @rule(after=st.integers(0, 5), where=st.sampled_from(["copy_table", "append_copies", "commit"]))
    def a_sync_is_cut_off(self, after: int, where: str) -> None:
        wanted = self.wanted()
        left = [after]

        def cut(real: Callable) -> Callable:
            def call(*arguments, **options):
                left[0] -= 1
                if left[0] < 0:
                    raise Cut
                return real(*arguments, **options)

            return call

        if where == "commit":
            patch = mock.patch.object(self.catalog, "commit", cut(self.catalog.commit))
        else:
            import anabranch.masking.sync as module

            patch = mock.patch.object(module, where, cut(getattr(module, where)))
        with patch:
            try:
                self.masker().sync(self.now(self.environment), self.now(self.parent))
            except Cut:
                return
        self.allowed.append(wanted)

    @precondition(lambda self: self.now(self.environment).head > 1)
    @rule()
    def it_is_rolled_back(self) -> None:
        environment = self.now(self.environment)
        point = Point(environment.id, environment.head - 1)
        changes = {c.key: c.after for c in self.catalog.changes(environment.point, point)}
        self.catalog.commit(CommitRequest(branch=environment.id, changes=changes, kind="rollback"))

    # what always holds

    def held(self) -> dict[str, list[dict]]:
        entries = self.catalog.entries(self.now(self.environment).point)
        return {
            key: Table(key, entry.location, self.outside).to_arrow().to_pylist()
            for key, entry in entries.items()
        }

    @invariant()
    def it_is_the_parent_at_one_commit_masked_by_one_set_of_rules(self) -> None:
        if hasattr(self, "allowed"):
            assert self.held() in self.allowed

    @invariant()
    def no_file_below_its_prefix_holds_an_unmasked_value(self) -> None:
        if not hasattr(self, "folder"):
            return
        for path in (self.folder / "_masked").rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                data += unpacked(data) if data[:4] == b"Obj\x01" else b""
                assert b"CANARY" not in data, path
                if path.suffix == ".parquet":
                    assert not values_of(path) & self.secrets, path

    @invariant()
    def whatever_it_points_to_lies_below_its_prefix(self) -> None:
        if hasattr(self, "folder"):
            entries = self.catalog.entries(self.now(self.environment).point)
            assert all(
                entry.location.startswith(f"{self.folder}/_masked/staging-1/") for entry in entries.values()
            )


Masks.TestCase.settings = settings(
    max_examples=effort(20),
    stateful_step_count=14,
    # A shorter history would be nicer to read, and takes minutes to find.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
test_a_masked_environment_is_what_its_rules_mean = pytest.mark.slow(Masks.TestCase)
