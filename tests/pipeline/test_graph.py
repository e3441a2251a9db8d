"""The order of assets, what is made from what, and how people select among them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import CycleError, SelectionError
from anabranch.pipeline.graph import CheckNode, Graph, Node


def graph(**inputs: str) -> Graph:
    """``graph(a="", b="a", c="a b")``: key → the keys it reads."""
    return Graph(
        Node(key, inputs=tuple(reads.split()), tags=frozenset({"daily"} if key in "ac" else {"all-days"}))
        for key, reads in inputs.items()
    )


LINE = graph(d="c", c="b", b="a", a="", x="")


def test_each_asset_comes_after_its_inputs():
    assert [key for key in LINE if key != "x"] == ["a", "b", "c", "d"]
    assert len(LINE) == 5
    assert "a" in LINE
    assert "q" not in LINE
    assert LINE["b"].inputs == ("a",)


def test_the_order_does_not_depend_on_that_of_the_declarations():
    nodes = list(LINE.nodes.values())
    assert list(Graph(nodes)) == list(Graph(reversed(nodes)))


def test_a_ring_is_an_error_that_names_it_in_the_direction_of_reading():
    with pytest.raises(CycleError) as caught:
        Graph(
            [
                Node("a", inputs=("c",), place="defs.py:1"),
                Node("b", inputs=("a",), place="defs.py:2"),
                Node("c", inputs=("b",), place="defs.py:3"),
                Node("d", inputs=("c",)),
            ]
        )
    ring = caught.value.facts["ring"]
    assert ring[0] == ring[-1]
    assert set(ring) == {"a", "b", "c"}
    reads = {"a": "c", "b": "a", "c": "b"}
    assert all(reads[one] == two for one, two in itertools.pairwise(ring))
    assert " → ".join(ring) in caught.value.message
    assert caught.value.place.startswith("defs.py:")


def test_readers_upstream_and_downstream():
    made = graph(a="", b="a", c="a", d="b c", e="")
    assert set(made.readers["a"]) == {"b", "c"}
    assert made.readers["d"] == ()
    assert made.upstream(["d"]) == {"a", "b", "c", "d"}
    assert made.upstream(["b", "e"]) == {"a", "b", "e"}
    assert made.downstream(["b"]) == {"b", "d"}
    assert made.downstream([]) == set()


def test_an_asset_that_reads_one_input_twice_is_its_reader_once():
    assert graph(a="", b="a a").readers["a"] in (("b",), ("b", "b"))
    assert graph(a="", b="a a").downstream(["a"]) == {"a", "b"}


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        ([], "a b c d x"),
        (["b"], "b"),
        (["+b"], "a b"),
        (["b+"], "b c d"),
        (["+b+"], "a b c d"),
        (["a", "d"], "a d"),
        (["a,d"], "a d"),
        (["a d, x"], "a d x"),
        (["*"], "a b c d x"),
        (["all"], "a b c d x"),
        (["tag:daily"], "a c"),
        (["tag:daily+"], "a b c d"),
        (["+tag:daily"], "a b c"),
        (["changed"], "b"),
        (["changed+"], "b c d"),
        (["+changed", "x"], "a b x"),
    ],
)
def test_a_selection_names_assets(words, chosen):
    assert LINE.select(words, changed=lambda: {"b"}) == set(chosen.split())


def test_what_changed_is_asked_only_if_the_word_is_used():
    def never() -> set[str]:
        raise AssertionError

    assert LINE.select(["a"], changed=never) == {"a"}


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("delai", "there is no asset 'delai'", "did you mean 'delays'?"),
        ("+delai+", "there is no asset 'delai'", "did you mean 'delays'?"),
        ("zzz", "there is no asset 'zzz'", "`anabranch plan` lists the assets"),
        ("tag:dayly", "no asset has the tag 'dayly'", "did you mean 'daily'?"),
        ("tag:zzz", "no asset has the tag 'zzz'", "the tags are: daily"),
        ("+", "there is no asset ''", "`anabranch plan` lists the assets"),
    ],
)
def test_a_word_that_names_nothing_is_an_error_with_the_nearest(word, message, hint):
    made = Graph([Node("delays", tags=frozenset({"daily"}))])
    with pytest.raises(SelectionError) as caught:
        made.select([word])
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_where_there_are_no_tags_that_is_said():
    with pytest.raises(SelectionError) as caught:
        Graph([Node("a")]).select(["tag:x"])
    assert caught.value.hint == "there are no tags"


def test_a_check_has_an_id_that_is_unique_in_the_project():
    assert CheckNode("fine", "delays", ("delays",), "c").id == "delays:fine"


@given(st.data())
def test_upstream_and_downstream_are_each_others_mirror(data):
    size = data.draw(st.integers(1, 8))
    inputs = {
        f"n{i}": data.draw(st.lists(st.sampled_from([f"n{j}" for j in range(i)]), unique=True)) if i else []
        for i in range(size)
    }
    made = Graph(Node(key, inputs=tuple(reads)) for key, reads in inputs.items())
    position = {key: index for index, key in enumerate(made)}
    for key, reads in inputs.items():
        assert all(position[source] < position[key] for source in reads)
        for other in made.upstream([key]):
            assert key in made.downstream([other])
        for other in made.downstream([key]):
            assert key in made.upstream([other])
