"""The state of each partition of a table, as one small immutable file beside the table's metadata.

A plan over hundreds of tables of thousands of partitions loads and compares as many of these, so a map is kept in columns,
its states are made when asked for, and nothing heavy is imported. Knows keys, versions and opaque words about how each
partition came to be; knows nothing of files or Iceberg.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import zlib
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from itertools import zip_longest
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from anabranch.dataclass import dataclass, field
from anabranch.errors import LakeError

if TYPE_CHECKING:
    from anabranch.lake.version import Content

Json = Any
_TAG = b"abpm1\n"
_CHECK = struct.Struct("<I")
_LENGTHS = struct.Struct("<QQ")
_COLUMNS = ("making", "inputs", "values", "form", "files", "bytes", "columns", "sums")


@dataclass(frozen=True)
class PartitionState:
    """What one partition holds and how it came to be.

    Attributes:
        key: Its key.
        rows: Its rows; a partition may have none and still have been made.
        version: The content's version.
        making: Id, in the map's ``makings``, of what made it.
        inputs: Hex digest of what was read to make it.
        values: What Iceberg's partition fields hold for it: texts, and numbers since 1970.
        form: Digest of the schema that its files were written with; empty if that is not known.
        files: How many data files it has.
        bytes: Their size.
        columns: The sets of columns whose contents are known besides, as `kept_columns` writes them; empty if none are.
        sums: The content of each of them, one after the other.
    """

    key: str
    rows: int
    version: str
    making: str
    inputs: str
    values: tuple[Any, ...] = field(default=(), compare=False)
    form: str = field(default="", compare=False)
    files: int = field(default=0, compare=False)
    bytes: int = field(default=0, compare=False)
    columns: str = field(default="", compare=False)
    sums: str = field(default="", compare=False)


class PartitionMap:
    """The states of a table's partitions by key, sorted. Immutable, picklable.

    Args:
        states: In any order.
        makings: Id → what made partitions, a JSON value; those that no state names are left out.

    Raises:
        LakeError: a key comes twice, or a state names a making that is not given.
    """

    def __init__(
        self, states: Iterable[PartitionState] = (), makings: Mapping[str, Json] | None = None
    ) -> None:
        ordered = sorted(states, key=lambda state: state.key)
        given = makings or {}
        rows = [each.rows for each in ordered]
        split = _split([each.version for each in ordered], rows)
        others = [[getattr(each, name) for each in ordered] for name in _COLUMNS]
        self._fill([[each.key for each in ordered], rows, *split, *others], given)
        if len(self._at) != len(self._keys):
            twice = next(key for place, key in enumerate(self._keys) if self._at[key] != place)
            raise LakeError(f"the partition {twice} comes twice", key=twice)
        unknown = {each for each in self._making if each not in given}
        if unknown:
            raise LakeError(f"partitions were made by {min(unknown)!r}, of which nothing is said")

    def _fill(self, columns: list[list[Any]], makings: Mapping[str, Json]) -> None:
        self._keys = tuple(columns[0])
        self._rows, self._starts, self._ends = columns[
            1:4
        ]  # a version is start, rows, colon, end; or an end alone
        self._making, self._inputs, self._values, self._forms, self._files, self._bytes = columns[4:10]
        self._sets, self._sums = columns[10:]
        used = dict.fromkeys(self._making)
        self._makings = {name: makings[name] for name in used if name in makings}

    # what is in it

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys, sorted."""
        return self._keys

    @property
    def makings(self) -> Mapping[str, Json]:
        """Id → what made partitions."""
        return MappingProxyType(self._makings)

    def get(self, key: str) -> PartitionState | None:
        """The state of one partition; None if there is none."""
        at = self._at.get(key)
        return None if at is None else self._state(at)

    def states(self) -> Iterator[PartitionState]:
        """All states, in the order of the keys."""
        return (self._state(at) for at in range(len(self._keys)))

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._at

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PartitionMap):
            return NotImplemented
        return not self.differing(other) and self._makings == other._makings

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<partition map of {len(self)}>"

    def _state(self, at: int) -> PartitionState:
        return PartitionState(
            self._keys[at],
            self._rows[at],
            self._version(at),
            self._making[at],
            self._inputs[at],
            self._values[at],
            self._forms[at],
            self._files[at],
            self._bytes[at],
            self._sets[at],
            self._sums[at],
        )

    def _version(self, at: int) -> str:
        return _joined(self._starts[at], self._rows[at], self._ends[at])

    @cached_property
    def _versions(self) -> list[str]:
        return list(map(_joined, self._starts, self._rows, self._ends))

    @cached_property
    def _at(self) -> dict[str, int]:
        return dict(zip(self._keys, range(len(self._keys)), strict=True))

    @cached_property
    def files(self) -> int:
        """The data files of all partitions."""
        return sum(self._files)

    @cached_property
    def by_values(self) -> dict[tuple[Any, ...], str]:
        """What Iceberg's partition fields hold → key."""
        return dict(zip(self._values, self._keys, strict=True))

    @cached_property
    def forms(self) -> frozenset[str]:
        """Digests of the schemas with which files were written."""
        return frozenset(form for form, files in zip(self._forms, self._files, strict=True) if files)

    def column_contents(self) -> dict[str, Content]:
        """The content of each set of columns that is known of every partition with rows, over all of them."""
        from anabranch.lake.version import Content

        totals: dict[tuple[str, str], int] = {}
        known: set[tuple[str, str]] | None = None
        names: dict[str, list[tuple[str, str]]] = {}
        low = (1 << 64) - 1
        for number, text, sums in zip(self._rows, self._sets, self._sums, strict=True):
            if not number:
                continue
            if text not in names:
                names[text] = [(name, digest) for name, digest in json.loads(text)] if text else []
                known = set(names[text]) if known is None else known & set(names[text])
                if not known:
                    return {}
            for at, name in enumerate(names[text]):
                one, both = int(sums[32 * at : 32 * at + 32], 16), totals.get(name, 0)
                totals[name] = (((one >> 64) + (both >> 64)) & low) << 64 | (one + both) & low
        rows = sum(self._rows)
        return {name: Content(digest, rows, totals[name, digest]) for name, digest in known or ()}

    # comparing

    @cached_property
    def digest(self) -> str:
        """A hash of key, version, making and inputs of every partition."""
        return _digest(self._keys, self._versions, self._making, self._inputs)

    @cached_property
    def versions_digest(self) -> str:
        """A hash of key and version of every partition."""
        return _digest(self._keys, self._versions)

    def version_of(self, keys: Iterable[str], columns: str | None = None) -> str:
        """One hash of the versions of these partitions, in whatever order; one that is absent counts as absent.

        Args:
            keys: Which.
            columns: A set of columns, as `lake.columns.set_text` writes it: where a partition keeps its content, that
                counts instead of the whole's.
        """
        wanted = sorted(set(keys))
        at = [self._at.get(key) for key in wanted]
        of = self._version if columns is None else partial(self._version_of_columns, columns)
        return _digest(wanted, [None if place is None else of(place) for place in at])

    def _version_of_columns(self, columns: str, at: int) -> str:
        place, schema = _places(self._sets[at]).get(columns, (-1, ""))
        if place < 0:
            return self._version(at)
        return f"{columns} {schema} {self._rows[at]} {self._sums[at][32 * place : 32 * place + 32]}"

    def differing(self, other: PartitionMap) -> set[str]:
        """Keys whose state is another there, or that one of both lacks."""
        return {state[0] for state in self._compared ^ other._compared}

    @cached_property
    def _compared(self) -> set[tuple[Any, ...]]:
        columns = (self._keys, self._starts, self._rows, self._ends, self._making, self._inputs)
        return set(zip(*columns, strict=True))

    # changing

    def with_states(
        self,
        states: Iterable[PartitionState] = (),
        remove: Collection[str] = (),
        makings: Mapping[str, Json] | None = None,
    ) -> PartitionMap:
        """A map with these states put in place of those of their keys, and without some keys."""
        changed = {state.key: state for state in states}
        known = {**self._makings, **(makings or {})}
        places = [at for at, key in enumerate(self._keys) if key not in changed and key not in remove]
        columns = [
            column if len(places) == len(self._keys) else [column[at] for at in places]
            for column in map(list, self._columns())
        ]
        added = PartitionMap(changed.values(), known)
        for column, more in zip(columns, added._columns(), strict=True):
            column.extend(more)
        keys = columns[0]
        if places and len(added) and keys[len(places)] < keys[len(places) - 1]:
            order = sorted(range(len(keys)), key=keys.__getitem__)
            columns = [[column[at] for at in order] for column in columns]
        return _of_columns(columns, known)

    def _columns(self) -> list[Any]:
        return [
            self._keys,
            self._rows,
            self._starts,
            self._ends,
            self._making,
            self._inputs,
            self._values,
            self._forms,
            self._files,
            self._bytes,
            self._sets,
            self._sums,
        ]

    # storing

    def to_bytes(self) -> bytes:
        """The map as a file: a tag, a checksum, and packed columns in which what repeats is stored once."""
        making, making_places = _numbered(self._making)
        forms, form_places = _numbered(self._forms)
        shared, start_places = _numbered(self._starts)
        sets, set_places = _numbered(self._sets)
        numbers = (self._rows, making_places, form_places, start_places, self._files, self._bytes, set_places)
        values = list(map(list, zip_longest(*self._values)))
        out = {
            "count": len(self._keys),
            "keys": self._keys,
            "makings": [[name, self._makings[name]] for name in making],
            "forms": forms,
            "versions": shared,
            "sets": sets,
            "values": [None if column == list(self._keys) else column for column in values],
        }
        raw = _packed(self._ends, out, "sums") + _packed(self._inputs, out, "inputs")
        raw += _packed(self._sums, out, "set_sums")
        text = json.dumps(out, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
        columns = b"".join(_little(array("q", column)).tobytes() for column in numbers)
        packed = zlib.compress(_LENGTHS.pack(len(text), len(columns)) + text + columns, 1)
        body = _LENGTHS.pack(len(packed), len(raw)) + packed + raw
        return _TAG + _CHECK.pack(zlib.crc32(body)) + body

    @classmethod
    def from_bytes(cls, data: bytes) -> PartitionMap:
        """Reads what `to_bytes` wrote.

        Raises:
            LakeError: this is no partition map, one of a newer program, or damaged.
        """
        if not data.startswith(_TAG):
            raise LakeError(
                f"no partition map that can be read here: it begins with {data[: len(_TAG)]!r}",
                hint="it may have been written by a newer anabranch: upgrade this one",
            )
        start = len(_TAG) + _CHECK.size
        body = data[start:]
        if len(body) < _LENGTHS.size or _CHECK.unpack_from(data, len(_TAG))[0] != zlib.crc32(body):
            raise LakeError(
                "the partition map is damaged", hint="restore the file from a backup, or build anew"
            )
        size, _ = _LENGTHS.unpack_from(body)
        inner = zlib.decompress(body[_LENGTHS.size : _LENGTHS.size + size])
        raw = body[_LENGTHS.size + size :]
        length, _ = _LENGTHS.unpack_from(inner)
        out = json.loads(inner[_LENGTHS.size : _LENGTHS.size + length].decode("utf-8", "surrogatepass"))
        numbers = array("q")
        numbers.frombytes(inner[_LENGTHS.size + length :])
        count = out["count"]
        flat = _little(numbers).tolist()
        rows, making, form, starts, files, sizes, sets = (
            flat[at * count : (at + 1) * count] for at in range(7)
        )
        ends, raw = _unpacked(out["sums"], raw)
        inputs, raw = _unpacked(out["inputs"], raw)
        # What was written before sets were kept has none.
        sums = _unpacked(out["set_sums"], raw)[0] if sets else [""] * count
        names = [name for name, _ in out["makings"]]
        shared, keys = out["versions"], out["keys"]
        columns = [keys if column is None else column for column in out["values"]]
        return _of_columns(
            [
                keys,
                rows,
                [shared[place] for place in starts],
                ends,
                [names[place] for place in making],
                inputs,
                list(zip(*columns, strict=True)) if columns else [()] * count,
                [out["forms"][place] for place in form],
                files,
                sizes,
                [out["sets"][place] for place in sets] or [""] * count,
                sums,
            ],
            dict(out["makings"]),
        )


def kept_columns(contents: Mapping[str, Content]) -> tuple[str, str]:
    """Contents of sets of columns as `PartitionState.columns` and ``sums``; all have the partition's rows."""
    if not contents:
        return "", ""
    names = json.dumps([[name, each.schema] for name, each in contents.items()], separators=(",", ":"))
    return names, "".join(f"{each.sum:032x}" for each in contents.values())


@lru_cache(maxsize=256)
def _places(text: str) -> Mapping[str, tuple[int, str]]:
    """Set of columns → its place among the sums, and the digest of its schema: what `kept_columns` has written."""
    return {name: (place, schema) for place, (name, schema) in enumerate(json.loads(text) if text else [])}


def _of_columns(columns: list[list[Any]], makings: Mapping[str, Json]) -> PartitionMap:
    """A map of columns whose keys are sorted."""
    made = PartitionMap.__new__(PartitionMap)
    made._fill(columns, makings)  # noqa: SLF001 -- a second way to make one
    return made


def _little(numbers: array[int]) -> array[int]:
    """The numbers as a file has them, lowest byte first, or back."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _digest(*columns: Sequence[str | None]) -> str:
    found = hashlib.sha256()
    for column in columns:
        lengths = ",".join(["-" if text is None else str(len(text)) for text in column])
        found.update(f"{lengths};{''.join([text or '' for text in column])}".encode("utf-8", "surrogatepass"))
    return f"p1:{found.hexdigest()[:32]}"


def _numbered(texts: list[str]) -> tuple[list[str], list[int]]:
    """The different texts, and which of them stands at each place."""
    different = list(dict.fromkeys(texts))
    numbers = {text: number for number, text in enumerate(different)}
    return different, list(map(numbers.__getitem__, texts))


def _joined(start: str, rows: int, end: str) -> str:
    return f"{start}{rows}:{end}" if start else end


def _split(versions: list[str], rows: list[int]) -> tuple[list[str], list[str]]:
    """Versions as what comes before their rows, which all partitions have in common, and their sums."""
    starts, ends = [], []
    for version, number in zip(versions, rows, strict=True):
        start, middle, end = version.rpartition(f":{number}:")
        starts.append(f"{start}:" if middle else "")
        ends.append(end)
    return starts, ends


def _packed(texts: list[str], out: dict[str, Json], name: str) -> bytes:
    """Texts as raw bytes if all are lowercase hexadecimal of one length, otherwise as they are in ``out``."""
    width = len(texts[0]) if texts else 0
    joined = "".join(texts)
    if width and width % 2 == 0 and set(map(len, texts)) == {width}:
        try:
            raw = bytes.fromhex(joined)
        except ValueError:
            raw = b""
        if raw.hex() == joined:
            out[name] = {"width": width, "count": len(texts)}
            return raw
    out[name] = texts
    return b""


def _unpacked(kept: Json, raw: bytes) -> tuple[list[str], bytes]:
    if isinstance(kept, list):
        return kept, raw
    width, count = kept["width"], kept["count"]
    size = width * count // 2
    text = raw[:size].hex()
    return [text[at : at + width] for at in range(0, width * count, width)], raw[size:]


__all__ = ["PartitionMap", "PartitionState", "kept_columns"]
