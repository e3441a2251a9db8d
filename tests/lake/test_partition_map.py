"""The partition map: small, exact, comparable, and told apart from anything else."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import LakeError
from anabranch.lake.partition_map import PartitionMap, PartitionState

HEX = st.binary(min_size=4, max_size=4).map(bytes.hex)
STATES = st.builds(
    PartitionState,
    st.text(max_size=5),
    st.integers(0, 2**60),
    st.one_of(st.builds("ab1:{}:{}:{}".format, HEX, st.integers(0, 9), HEX), st.text(max_size=8)),
    st.sampled_from(["a", "b", "ü"]),
    st.one_of(HEX, st.text(max_size=5)),
    st.tuples(st.one_of(st.integers(-(2**40), 2**40), st.text(max_size=3))),
    HEX,
    st.integers(0, 9),
    st.integers(0, 2**50),
)
MAPS = st.lists(STATES, max_size=8, unique_by=lambda state: state.key)
MAKINGS = {"a": {"code": 1}, "b": None, "ü": ["x"]}


def state(key: str, version: str = "v", making: str = "a", inputs: str = "00") -> PartitionState:
    return PartitionState(key, 1, version, making, inputs)


def everything(states: PartitionMap) -> list[tuple[object, ...]]:
    names = ("key", "rows", "version", "making", "inputs", "values", "form", "files", "bytes")
    return [tuple(getattr(each, name) for name in names) for each in states.states()]


@given(MAPS)
def test_a_map_comes_back_as_it_went_in(states: list[PartitionState]) -> None:
    whole = PartitionMap(states, MAKINGS)
    for back in (PartitionMap.from_bytes(whole.to_bytes()), pickle.loads(pickle.dumps(whole))):
        assert everything(back) == everything(whole)
        assert dict(back.makings) == dict(whole.makings)
        assert back == whole
        assert (back.digest, back.versions_digest) == (whole.digest, whole.versions_digest)
        assert not back.differing(whole)
    assert list(whole) == list(whole.keys) == sorted(each.key for each in states)


@given(MAPS, MAPS, st.sets(st.text(max_size=5)))
def test_states_are_put_in_place_of_those_of_their_keys(
    old: list[PartitionState], new: list[PartitionState], remove: set[str]
) -> None:
    before = PartitionMap(old, MAKINGS)
    changed = before.with_states(new, remove, MAKINGS)
    model = {each.key: each for each in old if each.key not in remove} | {each.key: each for each in new}
    assert everything(changed) == everything(PartitionMap(model.values(), MAKINGS))
    assert (
        changed.differing(before)
        == before.differing(changed)
        == {key for key in {*model, *before} if model.get(key) != before.get(key)}
    )
    assert set(changed.makings) == {each.making for each in model.values()}


def test_digests_tell_what_they_should() -> None:
    one = PartitionMap([state("a"), state("b")], MAKINGS)
    other = PartitionMap([state("a"), state("b", inputs="01")], MAKINGS)
    third = PartitionMap([state("a"), state("b", version="w")], MAKINGS)
    assert one.digest != other.digest
    assert one.versions_digest == other.versions_digest != third.versions_digest
    assert one.version_of(["b", "a"]) == other.version_of(["a", "b"]) != third.version_of(["a", "b"])
    assert one.version_of(["a"]) == third.version_of(["a"]) != one.version_of(["a", "absent"])
    assert one.version_of(["absent"]) == third.version_of(["absent"])
    # where one text ends and the next begins counts
    assert (
        PartitionMap([state("a", "bc")], MAKINGS).versions_digest
        != PartitionMap([state("ab", "c")], MAKINGS).versions_digest
    )


def test_what_makes_no_map_is_refused() -> None:
    with pytest.raises(LakeError, match="twice"):
        PartitionMap([state("a"), state("a")], MAKINGS)
    with pytest.raises(LakeError, match="of which nothing is said"):
        PartitionMap([state("a")], {})


@given(st.binary(max_size=40))
def test_an_unknown_tag_is_told(data: bytes) -> None:
    with pytest.raises(LakeError):
        PartitionMap.from_bytes(data)


@given(st.data())
def test_a_damaged_map_is_told(data: st.DataObject) -> None:
    whole = bytearray(PartitionMap([state(str(i)) for i in range(5)], MAKINGS).to_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(LakeError):
        PartitionMap.from_bytes(bytes(whole))
    with pytest.raises(LakeError):
        PartitionMap.from_bytes(bytes(whole[: data.draw(st.integers(0, len(whole) - 1))]))


def test_a_map_needs_nothing_heavy() -> None:
    code = (
        "import sys; import anabranch.lake.layout, anabranch.lake.partition_map as p;"
        "p.PartitionMap.from_bytes(p.PartitionMap().to_bytes()).digest;"
        "print([m for m in ('numpy', 'pyarrow', 'pyiceberg', 'duckdb') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
