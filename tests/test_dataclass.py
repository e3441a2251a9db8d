"""Dataclasses that are made quickly are those of the standard library in all that they do."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import FrozenInstanceError, asdict, replace
from typing import Any, ClassVar

import pytest

from anabranch.dataclass import dataclass, field


@dataclass(frozen=True)
class Point:
    """A frozen one."""

    x: int
    y: int = 2
    seen: list[int] = field(default_factory=list, compare=False, repr=False)
    kind: ClassVar[str] = "point"

    @property
    def both(self) -> int:
        return self.x + self.y


@dataclass
class Open:
    """One that changes."""

    name: str
    parts: dict[str, int] = field(default_factory=dict)
    late: int = field(init=False, default=0)
    told: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.late = len(self.name)


@dataclass(frozen=True)
class Empty:
    """Without fields."""


@dataclass(frozen=True)
class One:
    """With one field."""

    value: Any


@dataclass(frozen=True)
class Longer(Point):
    """With a base that is one."""

    z: int = 3


@dataclass(frozen=True, order=True)
class Ordered:
    """With an order."""

    rank: int


def standard(cls: type, **options: bool) -> type:
    """The same class, made by the standard library."""
    own = {
        key: value
        for key, value in cls.__dict__.items()
        if key in {"__annotations__", "__module__", "__doc__", "__post_init__", "both", "kind", "y"}
    }
    for each in dataclasses.fields(cls):
        default: dict[str, Any] = {"default": each.default, "default_factory": each.default_factory}
        own[each.name] = dataclasses.field(
            **{name: value for name, value in default.items() if value is not dataclasses.MISSING},
            init=each.init,
            repr=each.repr,
            compare=each.compare,
        )
    return dataclasses.dataclass(**options)(type(cls.__name__, (), own))


def test_values_are_told_compared_and_hashed_as_the_standard_library_does_it():
    twin = standard(Point, frozen=True)
    assert repr(Point(1)) == repr(twin(1)) == "Point(x=1, y=2)"
    assert hash(Point(1, 5)) == hash(twin(1, 5))
    assert Point(1) == Point(1, 2, [7])
    assert Point(1) != Point(2)
    assert Point(1) != twin(1)
    assert {Point(1): "a"}[Point(1)] == "a"


def test_a_class_has_the_signature_fields_and_pattern_of_the_standard_library():
    for cls, options in ((Point, {"frozen": True}), (Open, {})):
        twin = standard(cls, **options)
        assert str(inspect.signature(cls)) == str(inspect.signature(twin))
        assert cls.__match_args__ == twin.__match_args__
        assert cls.__init__.__annotations__ == twin.__init__.__annotations__
        assert cls.__init__.__qualname__ == f"{cls.__name__}.__init__"
        assert repr(cls.__dataclass_params__) == repr(twin.__dataclass_params__)
        assert [f.name for f in dataclasses.fields(cls)] == [f.name for f in dataclasses.fields(twin)]
    match Point(4, 5):
        case Point(x, y):
            assert (x, y) == (4, 5)


def test_a_frozen_one_takes_no_other_value():
    point = Point(1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 3  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'y'"):
        del point.y  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'new'"):
        point.new = 3  # type: ignore[attr-defined]
    assert point == Point(1)


def test_one_that_changes_has_no_hash():
    thing = Open("abc")
    thing.name = "b"
    assert (thing.name, thing.late) == ("b", 3)
    with pytest.raises(TypeError, match="unhashable"):
        hash(thing)


def test_defaults_are_made_anew_for_each_and_the_rest_follows_the_fields():
    first, second = Open("abc"), Open("abc")
    first.parts["x"] = 1
    first.told.append("y")
    assert (second.parts, second.told, second.late) == ({}, [], 3)
    with pytest.raises(TypeError):
        Open("abc", {}, 3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        Point()  # type: ignore[call-arg]


def test_values_are_copied_replaced_pickled_and_made_plain():
    point = Point(1, 4, [1])
    assert pickle.loads(pickle.dumps(point)).seen == [1]
    assert copy.deepcopy(point) == copy.copy(point) == point
    assert replace(point, y=9) == Point(1, 9)
    assert asdict(point) == {"x": 1, "y": 4, "seen": [1]}


def test_none_and_one_field_are_no_special_cases():
    assert Empty() == Empty()
    assert (hash(Empty()), repr(Empty())) == (hash(()), "Empty()")
    nan = float("nan")
    assert One(nan) == One(nan)  # as tuples compare: what is identical is equal
    assert hash(One(3)) == hash((3,))


def test_a_value_that_holds_itself_is_told():
    holder = One([])
    holder.value.append(holder)
    assert repr(holder) == "One(value=[...])"


def test_what_is_not_plain_is_the_standard_librarys():
    assert Longer(1) == Longer(1, 2, z=3)
    assert Longer(1) != Point(1)
    with pytest.raises(FrozenInstanceError):
        Longer(1).z = 4  # type: ignore[misc]
    assert sorted([Ordered(2), Ordered(1)]) == [Ordered(1), Ordered(2)]

    @dataclass(frozen=True)
    class Named:
        """With a parameter that is given by name."""

        a: int
        self: int = field(kw_only=True, default=1)

    assert Named(1, self=2).self == 2
    with pytest.raises(TypeError):
        Named(1, 2)  # type: ignore[misc]


def test_an_own_method_stays():
    @dataclass(frozen=True)
    class Told:
        """With its own words."""

        a: int

        def __repr__(self) -> str:
            return "mine"

        def __eq__(self, other: object) -> bool:
            return True

    assert repr(Told(1)) == "mine"
    assert Told(1) == Told(2)
    assert hash(Told(1)) == hash((1,))
