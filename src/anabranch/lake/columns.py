"""Versions of sets of columns: what a reader that uses a few columns compares, rather than the whole table's version.

The version of a set is the content version of the table that has these columns alone, ordered by name, with all rows. So
it says nothing of other columns nor of the order of columns; it adds up as contents do; and it can be computed later from
the stored table. Versions of single columns would not do instead: where values are swapped between two rows of one
column alone, they stay as they are. And they would cost a sixth of a write more. A set may name columns that a table does not have: it stands for those that it has.

Knows names and Arrow data; knows nothing of queries or tables' files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from anabranch.lake.canonical import schema_digest

if TYPE_CHECKING:
    import pyarrow as pa

RECORDED = "columns"
"""In the extra of an entry's provenance: the versions of sets of its table's columns, by the set's text."""
MOST_SETS = 16
"""Sets that are kept of one table; see `kept_sets`."""
_PLAIN = re.compile(r"\w+")
_PART = re.compile(r'(\w+|"(?:[^"\\]|\\.)*")(?:,|$)')

ColumnSet = tuple[str, ...]
"""Names in lower case, sorted, as SQL tells names apart."""


def column_set(names: Iterable[str]) -> ColumnSet:
    """The set of some names."""
    return tuple(sorted({name.lower() for name in names}))


@lru_cache(maxsize=4096)
def set_text(names: ColumnSet) -> str:
    """A set as the text it is kept under: ``amount,id``; names that are no plain words stand in double quotes."""
    return ",".join(name if _PLAIN.fullmatch(name) else json.dumps(name) for name in names)


@lru_cache(maxsize=4096)
def parse_set(text: str) -> ColumnSet:
    """What `set_text` made of a set."""
    return tuple(json.loads(part) if part.startswith('"') else part for part in _PART.findall(text))


def kept_sets(wanted: Iterable[ColumnSet]) -> tuple[ColumnSet, ...]:
    """The sets to keep of a table for those that its readers use: all, or the smaller ones and one that covers the rest.

    A reader whose own set is not kept is served by any that covers it, at the price of a few runs too many.
    """
    sets = sorted(set(wanted), key=lambda names: (len(names), names))
    if len(sets) <= MOST_SETS:
        return tuple(sets)
    rest = column_set(name for names in sets[MOST_SETS - 1 :] for name in names)
    return (*sets[: MOST_SETS - 1], rest)


def covering(kept: Mapping[str, str], names: ColumnSet) -> list[str]:
    """Versions of kept sets that hold all of the names: the set's own first, then from the smallest on."""
    own = kept.get(set_text(names))
    wider = sorted(
        (len(each), text)
        for text in kept
        if len(each := parse_set(text)) > len(names) and set(names) <= set(each)
    )
    return [*([own] if own is not None else []), *(kept[text] for _, text in wider)]


def positions(schema: pa.Schema, names: ColumnSet) -> list[int]:
    """Where the columns of a set are in a schema, ordered by name."""
    wanted = set(names)
    return sorted(
        (i for i, n in enumerate(schema.names) if n.lower() in wanted), key=lambda i: schema.names[i]
    )


class SetSums:
    """Sums of row hashes of several sets of columns, beside those of whole rows: one reading of the data for all.

    Args:
        schema: The schema of the data.
        sets: Which sets.
    """

    def __init__(self, schema: pa.Schema, sets: Iterable[ColumnSet]) -> None:
        import pyarrow as pa

        self._places = {set_text(names): positions(schema, names) for names in sets}
        self.digests = {
            text: schema_digest(pa.schema([schema.field(i) for i in places]))
            for text, places in self._places.items()
        }
        self.sums = dict.fromkeys(self._places, (0, 0))
        self._nodes: dict[str, Any] = {}

    def prepare(self, scratch: Any, given: pa.Schema, root: Any) -> None:
        """Makes the nodes for a layout; strings that several sets hold are summed up once for all, and for the row."""
        from anabranch.lake.lanes import splitmix
        from anabranch.lake.leaves import Bytes, Sums
        from anabranch.lake.rowhash import Struct

        shared: dict[int, Sums] = {}
        for text, places in self._places.items():
            fields = [(given.field(i).name, given.field(i).type) for i in places]
            node = self._nodes[text] = Struct(scratch, splitmix(0), "", fields)
            for place, child in zip(places, node.children, strict=True):
                if type(child) is Bytes:
                    child.sums = root.children[place].sums = shared.setdefault(place, Sums())

    def bind(self, columns: list[Any]) -> None:
        """Takes the arrays of a slab, all columns."""
        for text, places in self._places.items():
            self._nodes[text].bind_columns([columns[i] for i in places])

    def cells(self, lo: int, hi: int) -> Iterator[tuple[str, Any, Any]]:
        """Of each set, the two lanes of the hashes of a block's rows; they hold until the next is asked for."""
        for text, node in self._nodes.items():
            yield text, *node.cells(lo, hi, 0)

    def add(self, lo: int, hi: int) -> None:
        """Adds the rows of a block."""
        import numpy as np

        for text, high, low in self.cells(lo, hi):
            a, b = self.sums[text]
            self.sums[text] = (
                (a + int(np.add.reduce(high))) % 2**64,
                (b + int(np.add.reduce(low))) % 2**64,
            )
