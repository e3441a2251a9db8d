"""How a project's assets, checks and resources find each other, and what is told where they do not."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import polars as pl
import pytest

import anabranch.pipeline.check as rules
from anabranch.errors import (
    CycleError,
    DefinitionsError,
    DuplicateNameError,
    SignatureError,
    UnknownInputError,
)
from anabranch.pipeline.asset import asset, sql
from anabranch.pipeline.definitions import Definitions, Pipeline, Slot
from anabranch.pipeline.fingerprint import CodeReader
from anabranch.pipeline.outside import EnvVar
from anabranch.pipeline.resource import Config, Resource


class Archive(Resource):
    root: str = ""


class RemoteArchive(Archive):
    token: str = ""


class Mail(Resource):
    host: str = "localhost"

    def identity(self) -> Any:
        return {"host": self.host}


class Limits(Config):
    minimum: int = 100


class Strict(Config):
    must: int


@asset
def flights(archive: Archive) -> pl.DataFrame: ...


@asset
def delays(flights: pl.LazyFrame, config: Limits): ...


BOTH = {
    "production": {"archive": RemoteArchive(token=EnvVar("TOKEN"))},
    "sandbox": {"archive": Archive(root="fixtures")},
}


def made(function, **options):
    return asset(**options)(function)


def bind(*assets, checks=(), resources=None, config=None) -> Pipeline:
    return Pipeline.bind(
        Definitions(assets=assets, checks=checks, resources=resources or {}, config=config or {})
    )


def fails(kind, *assets, **rest):
    with pytest.raises(kind) as caught:
        bind(*assets, **rest)
    return caught.value


# what is given


def test_assets_and_checks_may_be_given_in_lists_of_lists():
    fine = rules.row_count("flights")
    given = Definitions(assets=[[flights], (delays, [sql("worst", "select 1")])], checks=[[fine]])
    assert [a.name for a in given.assets] == ["flights", "delays", "worst"]
    assert given.checks == [fine]


def test_a_function_without_a_decorator_is_told_how_to_be_one():
    def bare(): ...

    with pytest.raises(
        DefinitionsError, match=r"Definitions\(assets=\[…\]\) holds bare, a function"
    ) as caught:
        Definitions(assets=[bare])
    assert caught.value.hint == "decorate the function with @ab.asset"
    with pytest.raises(DefinitionsError, match=r"Definitions\(checks=\[…\]\) holds flights, a Asset"):
        Definitions(checks=[flights])
    with pytest.raises(DefinitionsError, match=r"holds 3, a int"):
        Definitions(assets=[3])


def test_resources_are_kept_by_environment_or_shared_by_all():
    by_name = Definitions(resources=BOTH)
    assert by_name.resource_set("production")["archive"].token == EnvVar("TOKEN")
    assert len(by_name.all_sets()) == 2
    shared = Definitions(resources={"mail": Mail()})
    assert shared.resource_set("production") == shared.resource_set("whatever") == {"mail": Mail()}
    assert Definitions().resource_set("production") == {}


def test_an_environment_without_resources_is_told_with_the_nearest():
    with pytest.raises(DefinitionsError, match="no resources for 'prodution'") as caught:
        Definitions(resources=BOTH).resource_set("prodution")
    assert caught.value.hint == "did you mean 'production'?"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"production": {"mail": "x"}}, "the resource 'production.mail' is a str, not an ab.Resource"),
        ({"mail": EnvVar("X")}, "the resource 'mail' is an EnvVar; put it into a resource's field"),
        ({"mail": 3}, "the resource 'mail' is a int, not an ab.Resource"),
        ({"mail": Mail(), "production": {}}, "resources mixes sets by environment (production) with plain"),
    ],
)
def test_what_is_no_resource_is_refused(given, message):
    with pytest.raises(DefinitionsError) as caught:
        Definitions(resources=given)
    assert caught.value.message.startswith(message)


def test_an_environments_variables_and_those_of_the_others_are_told_apart():
    given = Definitions(
        resources={
            "production": {"archive": RemoteArchive(token=EnvVar("TOKEN"), root=EnvVar("SHARED"))},
            "sandbox": {"archive": Archive(root=EnvVar("SHARED"))},
        }
    )
    assert given.variables("production") == {"TOKEN", "SHARED"}
    assert given.foreign_variables("production") == set()
    assert given.variables("sandbox") == {"SHARED"}
    assert given.foreign_variables("sandbox") == {"TOKEN"}


# parameters


def test_a_parameter_is_an_asset_a_resource_or_the_config():
    pipeline = bind(flights, delays, resources=BOTH)
    assert pipeline.assets["flights"].slots == (Slot("archive", "resource", "archive", Archive),)
    assert pipeline.assets["flights"].returns is pl.DataFrame
    bound = pipeline.assets["delays"]
    assert bound.slots == (
        Slot("flights", "input", "flights", pl.LazyFrame),
        Slot("config", "config", "config", Limits),
    )
    assert bound.config == Limits()
    assert bound.inputs == ("flights",)
    assert pipeline.assets["flights"].resources() == {"archive"}


def test_an_annotation_that_only_type_checkers_see_is_kept_as_text():
    scope: dict = {}
    code = """
        from __future__ import annotations
        def late(flights: pl.LazyFrame): ...
    """
    exec(dedent(code), scope)
    pipeline = bind(flights, made(scope["late"]), resources=BOTH)
    assert pipeline.assets["late"].slots[0].annotation == "pl.LazyFrame"


def test_inputs_name_the_asset_where_the_parameter_does_not():
    joined = made(lambda left, right: 1, name="joined", inputs={"left": flights, "right": "flights"})
    bound = bind(flights, joined, resources=BOTH).assets["joined"]
    assert bound.inputs == ("flights",)
    assert [slot.target for slot in bound.slots] == ["flights", "flights"]


def test_a_parameter_with_a_default_that_nothing_provides_is_left_alone():
    assert bind(made(lambda limit=3: 1, name="a")).assets["a"].slots == ()


def test_a_parameter_that_nothing_provides_is_an_error_with_the_nearest():
    error = fails(UnknownInputError, flights, made(lambda fligths: 1, name="a"), resources=BOTH)
    assert error.message == "a: the parameter 'fligths' is no asset, no resource and no config"
    assert error.hint == "did you mean 'flights'?"
    assert error.place.startswith(f"{__file__}:")
    assert error.facts == {"asset": "a", "input": "fligths"}


def test_an_input_that_is_no_asset_or_no_parameter_is_an_error():
    error = fails(UnknownInputError, made(lambda x: 1, name="a", inputs={"x": "fligths"}))
    assert "a reads 'fligths', which is no asset" in error.message
    error = fails(
        SignatureError, flights, made(lambda x=1: 1, name="a", inputs={"y": flights}), resources=BOTH
    )
    assert "inputs names 'y', which is no parameter" in error.message


def test_an_asset_that_reads_itself_is_refused():
    assert "a reads itself" in fails(SignatureError, made(lambda a: 1, name="a")).message


def test_a_ring_of_assets_is_told_when_the_graph_is_made(tmp_path):
    one, two = made(lambda b: 1, name="a"), made(lambda a: 1, name="b")
    pipeline = bind(one, two)
    with pytest.raises(CycleError, match=r"a → b → a|b → a → b"):
        pipeline.graph(CodeReader(tmp_path))


# names


def test_two_assets_of_one_name_are_an_error_and_one_given_twice_is_none():
    assert list(bind(flights, flights, resources=BOTH).assets) == ["flights"]
    error = fails(DuplicateNameError, made(lambda: 1, name="a"), made(lambda: 2, name="a"))
    assert error.message == "two assets are named 'a'"
    assert error.hint.startswith("the other one is at ")


def test_names_that_differ_only_in_case_are_refused():
    error = fails(DuplicateNameError, made(lambda: 1, name="orders"), made(lambda: 2, name="Orders"))
    assert "differ only in case" in error.message


# resources


def test_a_resource_is_found_by_the_parameters_name_or_as_the_only_one_of_its_class():
    by_class = made(lambda a, m: 1, name="x")
    by_class.function.__annotations__ |= {"a": Archive, "m": Mail}
    bound = bind(by_class, resources={"store": Archive(), "m": Mail()}).assets["x"]
    assert [slot.target for slot in bound.slots] == ["store", "m"]


def test_a_resource_without_an_annotation_is_found_by_its_name():
    bound = bind(made(lambda mail: 1, name="x"), resources={"mail": Mail()}).assets["x"]
    assert bound.slots == (Slot("mail", "resource", "mail", None),)


def test_an_asset_goes_before_a_resource_of_its_name_unless_the_class_says_otherwise():
    mail = made(lambda: 1, name="mail")
    bound = bind(mail, made(lambda mail: 1, name="x"), resources={"mail": Mail()}).assets["x"]
    assert bound.slots[0].role == "input"


def needs(kind, name="x"):
    def function(store): ...

    function.__annotations__["store"] = kind
    return made(function, name=name)


def test_a_resource_that_is_missing_ambiguous_or_of_another_class_is_an_error():
    error = fails(UnknownInputError, needs(Archive))
    assert error.message == "x: no resource 'store' of class Archive"
    assert "add it to Definitions(resources=" in error.hint
    error = fails(UnknownInputError, needs(Archive), resources={"one": Archive(), "two": Archive()})
    assert error.hint == "name the parameter as one of: one, two"
    error = fails(SignatureError, needs(Archive), resources={"store": Mail()})
    assert error.message == "x: the resource 'store' is a Mail, but the parameter is annotated Archive"


# config


def test_config_comes_from_the_asset_or_from_the_definitions_or_from_its_defaults():
    def counted(config: Limits): ...

    def config_of(pipeline):
        return pipeline.assets["counted"].config.minimum

    assert config_of(bind(made(counted))) == 100
    assert config_of(bind(made(counted, config=Limits(minimum=5)))) == 5
    both = bind(made(counted, config=Limits(minimum=5)), config={"counted": Limits(minimum=7)})
    assert config_of(both) == 7


def test_a_config_of_another_name_is_known_by_its_class():
    def counted(limits: Limits): ...

    assert bind(made(counted)).assets["counted"].slots == (Slot("limits", "config", "limits", Limits),)


def test_config_that_is_missing_superfluous_of_another_class_or_without_annotation_is_an_error():
    def strict(config: Strict): ...

    error = fails(SignatureError, made(strict))
    assert error.message == "strict: its config Strict has no value for must"
    error = fails(SignatureError, made(lambda: 1, name="a", config=Limits()))
    assert error.message == "a is given a config, but has no parameter for it"
    assert error.hint == "add: config: Limits"
    error = fails(SignatureError, made(strict, config=Limits()))
    assert error.message == "strict: its config is a Limits, not a Strict"
    error = fails(SignatureError, made(lambda config: 1, name="a"))
    assert "the parameter config has no annotation that is an ab.Config" in error.message


def test_config_for_an_asset_that_does_not_exist_is_an_error():
    error = fails(UnknownInputError, flights, resources=BOTH, config={"fligths": Limits()})
    assert (error.message, error.hint) == (
        "config is given for 'fligths', which is no asset",
        "did you mean 'flights'?",
    )


# sources


def test_an_observe_function_is_served_resources_only():
    def seen(archive: Archive) -> str: ...

    source = made(lambda archive: 1, name="source", observe=seen)
    bound = bind(source, resources=BOTH).assets["source"]
    assert bound.observe_slots == (Slot("archive", "resource", "archive", Archive),)
    error = fails(
        UnknownInputError, flights, made(lambda: 1, name="s", observe=lambda flights: 1), resources=BOTH
    )
    assert error.message.startswith("s (observe): the parameter 'flights'")


def test_only_what_reads_the_outside_world_has_a_refresh_policy():
    late = made(lambda flights: 1, name="late", refresh="always")
    assert (
        "reads other assets and has a refresh policy"
        in fails(SignatureError, flights, late, resources=BOTH).message
    )


# SQL


def test_a_query_reads_the_assets_that_it_names():
    worst = sql("worst", "with f as (select * from flights) select * from f join marts.days using (d)")
    days = made(lambda: 1, name="marts.days")
    assert bind(flights, days, worst, resources=BOTH).assets["worst"].inputs == ("flights", "marts.days")


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("select * from fligths", "did you mean 'flights'?"),
        ("select * from Flights", "write it as 'flights'"),
        ("select * from zzz", "add the asset to Definitions(assets=[…])"),
    ],
)
def test_a_query_that_reads_what_is_no_asset_is_an_error_at_its_place(query, hint):
    error = fails(UnknownInputError, flights, sql("worst", query), resources=BOTH)
    assert "the query worst reads" in error.message
    assert error.hint == hint
    assert error.place.startswith(f"{__file__}:")
    assert error.facts["asset"] == "worst"


# checks


def test_a_check_is_bound_to_what_its_parameters_name():
    @rules.check(delays, inputs={"seen": delays})
    def fine(seen: pl.DataFrame, flights, limit=3) -> bool: ...

    pipeline = bind(flights, delays, checks=[fine], resources=BOTH)
    bound = pipeline.checks["delays:fine"]
    assert bound.slots == (
        Slot("seen", "input", "delays", pl.DataFrame),
        Slot("flights", "input", "flights", None),
    )


def test_a_rule_is_bound_to_its_asset_and_to_what_it_refers_to():
    refers = rules.references(delays, "id", flights)
    pipeline = bind(flights, delays, checks=[refers, rules.row_count(delays)], resources=BOTH)
    bound = pipeline.checks["delays:references_id_flights"]
    assert bound.slots == (Slot("asset", "input", "delays"), Slot("other", "input", "flights"))
    assert pipeline.checks["delays:row_count"].slots == (Slot("asset", "input", "delays"),)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (rules.row_count("fligths"), "the check row_count is of 'fligths', which is no asset of these definitions"),
        (rules.references(flights, "a", "planes"), "the check references_a_planes reads 'planes', which is no asset"),
        (rules.check(flights)(lambda fligths: True), "the check <lambda>: the parameter 'fligths' is no asset"),
        (rules.check(flights)(lambda: True), "the check <lambda> reads no asset"),
        (
            rules.check(flights, inputs={"f": flights})(lambda flights: True),
            "the check <lambda>: inputs names 'f', which is no parameter of the function",
        ),
    ],
)  # fmt: skip
def test_a_check_that_can_not_be_bound_is_an_error_at_its_place(check, message):
    with pytest.raises(DefinitionsError) as caught:
        bind(flights, checks=[check], resources=BOTH)
    assert caught.value.message == message
    assert caught.value.place.startswith(f"{__file__}:")


def test_two_checks_of_one_asset_need_two_names():
    one = rules.row_count(flights)
    assert len(bind(flights, checks=[one, one], resources=BOTH).checks) == 1
    error = fails(DuplicateNameError, flights, checks=[one, rules.row_count(flights)], resources=BOTH)
    assert error.message == "two checks of flights are named 'row_count'"
    named = rules.row_count(flights, name="enough")
    assert len(bind(flights, checks=[one, named], resources=BOTH).checks) == 2


# the graph


PROJECT = {
    "defs.py": """
        from anabranch.pipeline.asset import asset, sql
        from anabranch.pipeline.check import check, fresh, not_null
        from anabranch.pipeline.definitions import Definitions
        from anabranch.pipeline.outside import EnvVar
        from anabranch.pipeline.resource import Config, Resource
        from helpers import clean

        class Archive(Resource):
            root: str = ""
            def read(self):
                return 1
            def identity(self):
                return "the archive"

        class Limits(Config):
            minimum: int = 100
            name: str = "x"

        @asset(every="1h", key="id", tags=["daily"])
        def flights(archive: Archive):
            "Flights."
            return clean(archive.read())

        @asset
        def delays(flights, config: Limits):
            return flights

        worst = sql("worst", "select * from delays join read_csv('a.csv') using (id)")

        @check(delays)
        def fine(delays) -> bool:
            return delays.rows > 0

        defs = Definitions(
            assets=[flights, delays, worst],
            checks=[fine, not_null(delays, "id", blocking=False), fresh(flights, "at", within="1d")],
            resources={
                "production": {"archive": Archive(root=EnvVar("ROOT"))},
                "sandbox": {"archive": Archive(root="fixtures")},
            },
        )
    """,
    "helpers.py": """
        def clean(value):
            return value
    """,
}


def graph_of(workshop, **edits):
    files = {name: dedent(text) for name, text in PROJECT.items()}
    for name, (old, new) in edits.items():
        file = f"{name}.py"
        assert old in files[file]
        files[file] = files[file].replace(old, new)
    root = workshop.write(files)
    with workshop.imported(root, "defs:defs") as definitions:
        return Pipeline.bind(definitions).graph(CodeReader(root))


@pytest.fixture
def one_graph(workshop):
    return graph_of(workshop)


def test_a_node_is_an_asset_in_plain_values(one_graph):
    node = one_graph["flights"]
    assert (node.kind, node.refresh, node.every, node.row_key) == ("python", "every", 3600.0, ("id",))
    assert node.tags == frozenset({"daily"})
    assert node.description == "Flights."
    assert node.place.startswith("defs.py:")
    assert node.resources == {"archive": '"the archive"'}
    assert "function helpers.clean" in node.code_parts
    assert node.places["function helpers.clean"].startswith("helpers.py:")
    assert any(name.startswith("class defs.Archive") for name in node.code_parts)


def test_a_config_is_part_of_its_node_field_by_field(one_graph):
    assert one_graph["delays"].config_parts == {"minimum": "100", "name": '"x"'}
    assert one_graph["flights"].config_parts == {}
    assert one_graph["flights"].config != one_graph["delays"].config


def test_a_query_is_a_node_that_tells_what_it_reads_outside(one_graph):
    node = one_graph["worst"]
    assert (node.kind, node.inputs) == ("sql", ("delays",))
    assert list(node.code_parts) == ["query worst"]
    assert len(node.outside) == 1
    assert "outside the catalog, whose changes are not seen" in node.notes[0]


def test_checks_are_plain_values_too(one_graph):
    checks = {check.name: check for check in one_graph.checks}
    assert set(checks) == {"fine", "not_null_id", "fresh_at"}
    assert checks["fine"].inputs == ("delays",)
    assert (checks["fine"].blocking, checks["not_null_id"].blocking) == (True, False)
    assert checks["fresh_at"].volatile
    assert not checks["not_null_id"].volatile
    assert checks["fine"].place.startswith("defs.py:")


def codes(graph):
    return {key: (graph[key].code, graph[key].config) for key in graph}


@pytest.mark.parametrize(
    ("edits", "changed"),
    [
        ({"helpers": ("return value", "return  value  # as it is")}, set()),
        ({"defs": ('"Flights."', '"All flights."')}, set()),
        ({"defs": ('root="fixtures"', 'root="elsewhere"')}, set()),
        ({"defs": ('EnvVar("ROOT")', 'EnvVar("OTHER")')}, set()),
        ({"defs": ('every="1h"', 'every="2h"')}, set()),
        ({"defs": ("select * from delays", "SELECT  *  FROM delays /* all */")}, set()),
        ({"helpers": ("return value", "return value or 0")}, {"flights"}),
        ({"defs": ("return 1", "return 2")}, {"flights"}),
        ({"defs": ("minimum: int = 100", "minimum: int = 99")}, {"delays"}),
        ({"defs": ("using (id)", "using (id, day)")}, {"worst"}),
        ({"defs": ("delays.rows > 0", "delays.rows > 1")}, set()),
    ],
)
def test_what_decides_content_changes_the_code_and_nothing_else_does(workshop, one_graph, edits, changed):
    graph = graph_of(workshop, **edits)
    before, after = codes(one_graph), codes(graph)
    assert {key for key in graph if before[key] != after[key]} == changed
    assert (graph.definitions != one_graph.definitions) is bool(changed)


def test_a_checks_code_changes_with_its_function_and_with_its_rule(workshop, one_graph):
    graph = graph_of(workshop, defs=("delays.rows > 0", "delays.rows > 1"))
    before = {check.name: check.code for check in one_graph.checks}
    after = {check.name: check.code for check in graph.checks}
    assert {name for name in before if before[name] != after[name]} == {"fine"}
    graph = graph_of(workshop, defs=('within="1d"', 'within="2d"'))
    after = {check.name: check.code for check in graph.checks}
    assert {name for name in before if before[name] != after[name]} == {"fresh_at"}


def test_the_definitions_hash_changes_with_who_reads_whom_and_not_with_the_order(workshop, one_graph):
    moved = graph_of(workshop, defs=("assets=[flights, delays, worst]", "assets=[worst, delays, flights]"))
    assert moved.definitions == one_graph.definitions
    fewer = graph_of(workshop, defs=("assets=[flights, delays, worst]", "assets=[flights, delays]"))
    assert fewer.definitions != one_graph.definitions


def test_a_resource_that_can_t_say_its_identity_is_told_with_the_line_that_failed(workshop):
    """Not as a mistake of anabranch's own: it is the user's code that failed, while the project was read."""
    failing = 'return {}["the archive"]'
    with pytest.raises(DefinitionsError) as caught:
        graph_of(workshop, defs=('return "the archive"', failing))
    error = caught.value
    assert (
        error.message
        == "the resource 'archive', a Archive, can't say its identity(): KeyError: 'the archive'"
    )
    file, _, number = error.place.rpartition(":")
    assert failing in Path(file).read_text().splitlines()[int(number) - 1]
    assert error.facts["resource"] == "archive"
