"""The error tree: as drawn, complete, and with exit codes that are documented."""

from __future__ import annotations

import json
import re

import pytest

from anabranch import errors
from anabranch.errors import EXIT_CODES, AnabranchError

_LINE = re.compile(r"^(?P<trunk>[│ ├└─]*)(?P<name>[A-Z]\w+Error)\b")


def drawn() -> dict[str, str | None]:
    """Class → its parent, as the drawing at the head of the module has it."""
    parents: dict[str, str | None] = {}
    stack: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        depth, rest = divmod(len(match["trunk"]), 4)
        assert rest == 0, line
        assert match["name"] not in parents, line
        del stack[depth:]
        parents[match["name"]] = stack[-1] if stack else None
        stack.append(match["name"])
    return parents


def everything(root: type[AnabranchError] = AnabranchError) -> list[type[AnabranchError]]:
    return [
        root,
        *(
            found
            for child in root.__subclasses__()
            if child.__module__ == errors.__name__
            for found in everything(child)
        ),
    ]


def test_the_drawing_at_the_head_of_the_module_is_the_real_tree() -> None:
    real = {
        cls.__name__: None if cls is AnabranchError else cls.__bases__[0].__name__ for cls in everything()
    }
    assert len(real) > 30
    assert drawn() == real


def test_every_error_has_one_parent_and_a_sentence() -> None:
    for cls in everything():
        assert len(cls.__bases__) == 1
        assert cls.__doc__, cls


def test_the_words_in_the_drawing_say_what_each_class_is_for() -> None:
    for line in (errors.__doc__ or "").splitlines():
        if (match := _LINE.match(line)) and match["name"] not in {
            "AnabranchError",
            "DefinitionsError",
            "CatalogError",
            "LakeError",
            "RunError",
            "PromotionError",
        }:
            assert len(line[match.end() :].strip()) > 10, line


@pytest.mark.parametrize("cls", everything(), ids=lambda cls: cls.__name__)
def test_the_exit_code_of_every_error_is_documented(cls: type[AnabranchError]) -> None:
    assert cls.exit_code in EXIT_CODES
    assert cls.exit_code not in {0, 130}


def test_an_error_names_its_place_before_its_sentence() -> None:
    assert (
        str(AnabranchError("no such thing", place="anabranch.toml:3 project"))
        == "anabranch.toml:3 project: no such thing"
    )
    assert str(AnabranchError("no such thing", hint="look again")) == "no such thing"


def test_every_error_has_one_json_shape() -> None:
    error = errors.ConflictError("moved", hint="sync", place="here", key="orders", expected="a", found=None)
    assert json.loads(json.dumps(error.to_dict())) == {
        "error": {
            "type": "ConflictError",
            "message": "moved",
            "place": "here",
            "hint": "sync",
            "facts": {"key": "orders", "expected": "a", "found": None},
        }
    }
