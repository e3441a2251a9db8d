"""Which rule holds for which column of a table, and why: pure judgements on plain values.

What is most particular goes first: the environment's setting for the column, then the rule that the asset gives with the
column's tag, then the environment's setting for the tag. A column that nobody has declared is masked whole until somebody
does. Knows words; knows no values, no key and no table's content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from anabranch.columns import KEEP, NULL, Rule, Tag
from anabranch.dataclass import dataclass, field
from anabranch.lake.layout import PARTITION_COLUMNS as ADDED

_ALGORITHM = "anabranch masks 1"


@dataclass(frozen=True)
class Policy:
    """The rules of one masked environment.

    Attributes:
        masks: What its settings say, by tag and by ``table.column``.
        key_id: Identifies its key; empty where it has none.
        keep_files: File assets that are taken over as they are.
        faker: The version of the library that makes values up.
    """

    masks: Mapping[str, Rule] = field(default_factory=dict)
    key_id: str = ""
    keep_files: tuple[str, ...] = ()
    faker: str = ""

    def rule(self, key: str, column: str, tags: Mapping[str, Tag]) -> Rule | None:
        """The rule of a column, or None where nobody has declared it.

        Args:
            key: The table.
            column: The column's name.
            tags: What was declared with the table, by column.
        """
        own = self.masks.get(f"{key}.{column}")
        if own is not None:
            return own
        tag = tags.get(column)
        if tag is None:
            return None
        return tag.rule or self.masks.get(tag.name) or NULL

    def declared(self, key: str, tags: Mapping[str, Tag]) -> dict[str, Rule]:
        """Column → rule, for every column of a table that was declared anywhere."""
        prefix = f"{key}."
        named = {name[len(prefix) :] for name in self.masks if name.startswith(prefix)}
        columns = sorted({name for name in named if "." not in name} | set(tags))
        found = {column: self.rule(key, column, tags) for column in columns}
        return {column: rule for column, rule in found.items() if rule is not None}

    def digest(self, key: str, tags: Mapping[str, Tag]) -> str:
        """Changes whenever a table has to be masked anew although its parent has not changed. Holds no secret."""
        declared = self.declared(key, tags)
        facts = {
            "rules": {column: str(rule) for column, rule in declared.items()},
            "key": self.key_id if any(rule.keyed for rule in declared.values()) else "",
            "faker": self.faker if any(rule.kind == "fake" for rule in declared.values()) else "",
        }
        return hashlib.sha256(json.dumps([_ALGORITHM, facts], sort_keys=True).encode()).hexdigest()[:32]

    def of_columns(
        self, key: str, columns: Iterable[str], tags: Mapping[str, Tag]
    ) -> tuple[dict[str, Rule], list[str]]:
        """The rule of every column of a table as it is, and the columns that nobody has declared, which are masked."""
        rules: dict[str, Rule] = {}
        undeclared = []
        for column in columns:
            # What the lake adds to a partitioned table holds keys that stand in the code.
            rule = KEEP if column in ADDED else self.rule(key, column, tags)
            if rule is None:
                undeclared.append(column)
            rules[column] = rule or NULL
        return rules, undeclared
