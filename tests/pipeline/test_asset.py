"""How assets are declared: they stay ordinary functions, and nonsense is refused where it stands."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from anabranch.errors import AnabranchError, SignatureError
from anabranch.pipeline.asset import Asset, Signature, asset, sql

if TYPE_CHECKING:
    import polars as pl


def line_of(text: str) -> int:
    """The number of the first line of this file that holds the text."""
    with open(__file__, encoding="utf-8") as lines:
        return next(number for number, line in enumerate(lines, 1) if text in line)


@asset
def bare(flights, weather=3):
    """How late they were.

    More of it.
    """
    return flights, weather


# declaring


def test_a_decorated_function_is_an_asset_that_is_called_like_it():
    assert isinstance(bare, Asset)
    assert bare(1) == (1, 3)
    assert bare(flights=1, weather=2) == (1, 2)
    assert bare.__wrapped__(5) == (5, 3)


def test_an_asset_has_the_functions_name_words_and_place():
    assert (bare.name, bare.__name__) == ("bare", "bare")
    assert bare.__doc__.startswith("How late they were.")
    assert bare.place == f"{__file__}:{line_of('@asset')}"
    assert repr(bare) == "<asset bare>"


def test_everything_that_can_be_said_is_kept():
    def seen() -> str:
        return "etag"

    made = asset(
        name="marts.delays",
        key="id",
        inputs={"left": bare, "right": "weather"},
        tags=["daily"],
        description="Delays.",
        observe=seen,
        retries=3,
        retry_delay="5s",
        timeout="1h",
        renames={"new": "old"},
        columns={"id": "Which flight."},
    )(lambda left, right: left)
    assert made.name == "marts.delays"
    assert made.key == ("id",)
    assert made.inputs == {"left": "bare", "right": "weather"}
    assert made.tags == frozenset({"daily"})
    assert made.__doc__ == "Delays."
    assert (made.refresh, made.observe) == ("observe", seen)
    assert (made.retries, made.retry_delay, made.timeout) == (3, timedelta(seconds=5), timedelta(hours=1))
    assert (made.renames, made.columns) == ({"new": "old"}, {"id": "Which flight."})


def test_a_key_is_one_column_or_several():
    assert asset(name="a", key="id")(lambda: 1).key == ("id",)
    assert asset(name="a", key=["id", "day"])(lambda: 1).key == ("id", "day")


@pytest.mark.parametrize(
    ("given", "policy", "interval"),
    [
        ({}, "code", None),
        ({"refresh": "code"}, "code", None),
        ({"refresh": "always"}, "always", None),
        ({"every": "90m"}, "every", timedelta(minutes=90)),
        ({"every": timedelta(days=1)}, "every", timedelta(days=1)),
        ({"observe": lambda: 1}, "observe", None),
    ],
)
def test_a_refresh_policy_is_one_of_four(given, policy, interval):
    made = asset(name="a", **given)(lambda: 1)
    assert (made.refresh, made.every) == (policy, interval)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "no good"}, "'no good' can't be an asset's name"),
        ({"name": "a.b.c"}, "'a.b.c' can't be an asset's name"),
        ({"name": "main.a"}, "'main.a' can't be an asset's name"),
        ({"refresh": "daily"}, "a: refresh='daily' is not known"),
        ({"refresh": "always", "every": "1h"}, "a: two refresh policies"),
        ({"every": "1h", "observe": lambda: 1}, "a: two refresh policies"),
        ({"retries": -1}, "a: retries is -1"),
    ],
)
def test_nonsense_is_refused_with_its_place(given, message):
    with pytest.raises(SignatureError) as caught:
        asset(**{"name": "a"} | given)(lambda: 1)
    assert caught.value.message == message
    assert caught.value.place.startswith(f"{__file__}:")
    assert caught.value.hint


def test_a_duration_that_is_none_is_refused():
    with pytest.raises(AnabranchError, match="'soon' is not a duration"):
        asset(name="a", timeout="soon")(lambda: 1)


def test_a_lambda_needs_a_name():
    with pytest.raises(SignatureError, match="can't be an asset's name"):
        asset(lambda: 1)


# SQL


def test_a_query_is_an_asset_at_the_line_of_its_declaration():
    made = sql("worst", "select 1", key="carrier", tags=["daily"])
    assert (made.name, made.query, made.key, made.function) == ("worst", "select 1", ("carrier",), None)
    assert made.place == f"{__file__}:{line_of('made = sql(')}"
    assert made.refresh == "code"


def test_a_query_may_stand_in_a_file_beside_the_one_that_names_it(tmp_path):
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "worst.sql").write_text("select 'é'", encoding="utf-8")
    code = "from anabranch.pipeline.asset import sql\nmade = sql('worst', file='queries/worst.sql')\n"
    scope: dict = {}
    exec(compile(code, str(tmp_path / "defs.py"), "exec"), scope)
    assert scope["made"].query == "select 'é'"
    assert scope["made"].place == f"{tmp_path / 'queries' / 'worst.sql'}:1"


def test_a_file_that_can_not_be_read_is_told():
    with pytest.raises(SignatureError, match=r"worst: .*missing\.sql can't be read: No such file") as caught:
        sql("worst", file="missing.sql")
    assert caught.value.place.startswith(f"{__file__}:")


@pytest.mark.parametrize("given", [{}, {"query": "select 1", "file": "a.sql"}])
def test_a_query_is_given_once(given):
    with pytest.raises(SignatureError, match="worst: give either a query or a file"):
        sql("worst", **given)


def test_a_query_can_not_be_called():
    with pytest.raises(SignatureError, match="worst is a query and can't be called") as caught:
        sql("worst", "select 1")()
    assert "project" in caught.value.hint


# signatures


def signature(function) -> Signature:
    return Signature.of(function, owner="delays", place="defs.py:3")


def test_parameters_have_their_annotations_and_whether_they_have_defaults():
    def delays(flights: int, weather, limit: str = "x") -> float: ...

    made = signature(delays)
    assert [(p.name, p.annotation, p.has_default) for p in made.parameters] == [
        ("flights", int, False),
        ("weather", None, False),
        ("limit", str, True),
    ]
    assert made.returns is float


def test_an_annotation_that_can_not_be_evaluated_is_kept_as_text():
    def delays(flights: pl.LazyFrame) -> Missing: ...  # noqa: F821

    made = signature(delays)
    assert made.parameters[0].annotation is None
    assert made.parameters[0].text == "pl.LazyFrame"
    assert made.returns is None


@pytest.mark.parametrize(
    ("function", "name"),
    [(lambda *rows: 1, "*rows"), (lambda **rest: 1, "**rest"), (eval("lambda a, /: 1"), "a")],
)
def test_parameters_that_can_not_be_served_by_name_are_refused(function, name):
    with pytest.raises(SignatureError) as caught:
        signature(function)
    assert caught.value.message == f"delays: the parameter {name} can't be served"
    assert caught.value.place == "defs.py:3"


def test_what_has_no_signature_is_refused():
    with pytest.raises(SignatureError, match="the signature can't be read"):
        signature(3)


def test_a_wrapped_function_has_the_signature_of_what_it_wraps():
    import functools

    def timed(function):
        @functools.wraps(function)
        def run(*args, **kwargs):
            return function(*args, **kwargs)

        return run

    @timed
    def delays(flights: int): ...

    assert [p.name for p in signature(delays).parameters] == ["flights"]
