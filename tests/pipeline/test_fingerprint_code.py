"""What counts as a change of an asset's code, and what does not."""

from __future__ import annotations

from textwrap import dedent

import pytest

BASE = {
    "assets.py": """
        import os
        import functools
        from pathlib import Path

        import wide
        from helpers import clean, Table, timed
        from registry import STEPS

        LIMIT = 3
        SECRET = os.environ.get("ANABRANCH_TEST_SECRET")
        HERE = Path(__file__).parent
        double = lambda x: x * 2

        def unrelated():
            return 1

        @timed
        def daily(rows: list, limit=LIMIT) -> list:
            '''What it does.'''
            kept = [clean(row) for row in rows if row > limit]  # only these
            shown = f"{len(kept)} rows, {SECRET}, {HERE}"
            return Table().fill(kept), double(3), wide.deep.down(shown), STEPS
    """,
    "helpers.py": """
        import functools
        from inner.deepest import tidy

        FACTOR = 10
        UNUSED = 1

        class Base:
            scale = 2
            def save(self):
                return self.scale

        class Table(Base):
            name = "table"
            def fill(self, rows):
                return [self.name, rows, self.save()]

        def timed(function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                return function(*args, **kwargs)
            return wrapper

        def clean(row):
            return tidy(row) * FACTOR

        def unused(row):
            return UNUSED
    """,
    "inner/__init__.py": "",
    "inner/deepest.py": """
        def tidy(row):
            return row + 1
    """,
    "wide/__init__.py": "from . import deep\n",
    "wide/deep.py": """
        from .constants import *
        def down(text):
            return text, DEPTH
    """,
    "wide/constants.py": "DEPTH = 3\nOTHER = 4\n",
    "registry.py": """
        STEPS = {}
        def step(function):
            STEPS[function.__name__] = function
            return function
        @step
        def first():
            return 1
    """,
}
BASE = {file: dedent(text) for file, text in BASE.items()}


def edited(file: str, old: str, new: str) -> dict[str, str]:
    assert old in BASE[file]
    return {**BASE, file: BASE[file].replace(old, new)}


@pytest.mark.parametrize(
    ("file", "old", "new", "cause"),
    [
        ("assets.py", "double(3)", "double(4)", "assets.daily"),
        ("assets.py", "LIMIT = 3", "LIMIT = 4", "assets.LIMIT"),
        ("assets.py", "x * 2", "x * 3", "assets.double"),
        ("assets.py", "rows: list,", "rows: tuple,", "assets.daily"),
        ("assets.py", 'get("ANABRANCH_TEST_SECRET")', 'get("OTHER")', "assets.SECRET"),
        ("inner/deepest.py", "row + 1", "row + 2", "inner.deepest.tidy"),
        ("helpers.py", "FACTOR = 10", "FACTOR = 10.0", "helpers.FACTOR"),
        ("helpers.py", 'name = "table"', 'name = "tables"', "helpers.Table"),
        ("helpers.py", "scale = 2", "scale = 3", "helpers.Base"),
        ("helpers.py", "return self.scale", "return -self.scale", "helpers.Base"),
        ("helpers.py", "return function(*args, **kwargs)", "return function(*args)", "helpers.timed"),
        ("wide/deep.py", "return text, DEPTH", "return DEPTH, text", "wide.deep.down"),
        ("wide/constants.py", "DEPTH = 3", "DEPTH = True", "wide.constants.DEPTH"),
        ("registry.py", "return 1", "return 2", "registry.first"),
    ],
)
def test_a_change_of_anything_that_is_reached_changes_the_code_and_is_named(read, file, old, new, cause):
    before, after = read(BASE), read(edited(file, old, new))
    assert before.hash != after.hash
    old_parts = {part.name: part.hash for part in before.parts}
    new_parts = {part.name: part.hash for part in after.parts}
    assert [name for name in new_parts if old_parts.get(name) != new_parts[name]] == [cause]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("assets.py", "  # only these", ""),
        ("assets.py", "'''What it does.'''", "'''Something else.'''"),
        ("assets.py", "'''What it does.'''\n", "\n"),
        ("assets.py", "double(3), wide", "double(\n    3,\n    ), wide"),
        ("assets.py", '"{len(kept)} rows, {SECRET}, {HERE}"', "'{len(kept)} rows, ' f'{SECRET}, {HERE}'"),
        ("assets.py", "kept = [", "kept: list[int] = ["),
        ("assets.py", "return 1", "return 2"),
        ("assets.py", "LIMIT = 3", "LIMIT: int = 0x3"),
        ("assets.py", "-> list:", '-> "list":'),
        ("assets.py", "import functools\n", "\n"),
        ("helpers.py", "UNUSED = 1", "UNUSED = 2"),
        ("helpers.py", "def unused(row):\n    return UNUSED", ""),
        ("wide/constants.py", "OTHER = 4", "OTHER = 5"),
        ("inner/__init__.py", "", "VERSION = 2\n"),
        ("registry.py", "STEPS = {}", "'''The registry.'''\nSTEPS = {}"),
    ],
)
def test_what_does_not_decide_the_result_does_not_change_the_code(read, file, old, new):
    files = {**BASE, file: BASE[file].replace(old, new)} if old else {**BASE, file: new}
    assert files != BASE
    assert read(BASE).hash == read(files).hash


def test_the_order_of_definitions_does_not_count(read):
    a = {"assets.py": "A = 1\ndef one(): return two()\ndef two(): return A\ndef daily(): return one(), A\n"}
    b = {"assets.py": "def daily(): return one(), A\ndef two(): return A\nA = 1\ndef one(): return two()\n"}
    assert read(a).hash == read(b).hash


def test_the_folder_of_the_checkout_and_the_times_of_its_files_do_not_count(workshop):
    import os

    from anabranch.pipeline.fingerprint import CodeReader

    prints = []
    for moment in (1_000_000, 2_000_000_000):
        root = workshop.write(BASE)
        for path in root.rglob("*.py"):
            os.utime(path, (moment, moment))
        with workshop.imported(root, "assets:daily") as daily:
            prints.append(CodeReader(root).of(daily))
    assert prints[0] == prints[1]


def test_a_different_secret_does_not_count(read, monkeypatch):
    monkeypatch.setenv("ANABRANCH_TEST_SECRET", "one")
    before = read(BASE)
    monkeypatch.setenv("ANABRANCH_TEST_SECRET", "two")
    assert read(BASE) == before


def test_a_helper_that_moves_to_another_module_changes_nothing(read):
    here = {
        "assets.py": "from one import clean\ndef daily(): return clean()\n",
        "one.py": "def clean(): return 1\n",
    }
    there = {
        "assets.py": "from two import clean\ndef daily(): return clean()\n",
        "two.py": "def clean(): return 1\n",
    }
    assert read(here).hash == read(there).hash


def test_two_helpers_that_change_places_change_the_code(read):
    files = {
        "assets.py": "from one import f as a\nfrom two import f as b\ndef daily(): return a() - b()\n",
        "one.py": "def f(): return 1\n",
        "two.py": "def f(): return 2\n",
    }
    swapped = {
        **files,
        "assets.py": "from two import f as a\nfrom one import f as b\ndef daily(): return a() - b()\n",
    }
    assert read(files).hash != read(swapped).hash


# The reach of names ------------------------------------------------------------------------------------------------


def names(found) -> set[str]:
    return {part.name for part in found.parts}


HELPERS = "def clean(x): return x\ndef other(x): return -x\nLIMIT = 3\nclass Table:\n    rows = 1\n"


@pytest.mark.parametrize(
    ("assets", "reached"),
    [
        ("import helpers\ndef daily(): return helpers.clean(1)", {"helpers.clean"}),
        ("import helpers as h\ndef daily(): return h.clean(1)", {"helpers.clean"}),
        ("import pkg.sub.mod\ndef daily(): return pkg.sub.mod.go()", {"pkg.sub.mod.go"}),
        ("import pkg.sub.mod as m\ndef daily(): return m.go()", {"pkg.sub.mod.go"}),
        ("from pkg.sub import mod\ndef daily(): return mod.go()", {"pkg.sub.mod.go"}),
        ("from pkg import go\ndef daily(): return go()", {"pkg.sub.mod.go"}),
        ("import pkg\ndef daily(): return pkg.go()", {"pkg.sub.mod.go"}),
        ("from pkg import *\ndef daily(): return shown()", {"pkg.shown"}),
        ("from helpers import *\ndef daily(): return clean(LIMIT)", {"helpers.clean", "helpers.LIMIT"}),
        ("def daily():\n    import helpers as h\n    return h.clean(1)", {"helpers.clean"}),
        ("def daily():\n    from helpers import clean as c\n    return [c(x) for x in ()]", {"helpers.clean"}),
        ("def daily():\n    from helpers import clean\n    def inner():\n        return clean(1)\n    return inner()", {"helpers.clean"}),
        ("from helpers import clean\ndef daily(clean): return clean(1)", set()),
        ("from helpers import clean\ndef daily():\n    clean = len\n    return clean(())", set()),
        ("from helpers import clean\ndef daily():\n    for clean in (): pass\n    return clean", set()),
        ("from helpers import clean\ndef daily(): return [clean for clean in ()]", set()),
        ("from helpers import clean\ndef daily(): return [x for x in clean(1)]", {"helpers.clean"}),
        ("from helpers import clean\ndef daily():\n    return [clean for clean in clean(1)]", {"helpers.clean"}),
        ("from helpers import clean\ndef daily():\n    if (clean := 3): return clean", set()),
        ("from helpers import clean\ndef daily():\n    try: pass\n    except ValueError as clean: return clean", set()),
        ("from helpers import clean\ndef daily():\n    with open('x') as clean: return clean", set()),
        ("from helpers import clean\ndef daily(x):\n    match x:\n        case {'a': clean}: return clean", set()),
        ("from helpers import clean\ndef daily():\n    def inner():\n        return clean\n    clean = 1\n    return inner", set()),
        ("from helpers import clean\ndef daily(x=clean): return x", {"helpers.clean"}),
        ("from helpers import clean\ndef daily(): return lambda y=clean: y", {"helpers.clean"}),
        ("from helpers import clean\ndef daily(): return lambda clean: clean", set()),
        ("import helpers\nLIMIT = 1\ndef daily():\n    global LIMIT\n    LIMIT = 2", {"assets.LIMIT"}),
        ("from helpers import clean\ndef daily():\n    class A:\n        clean = clean\n    return A", {"helpers.clean"}),
        ("from helpers import clean\ndef daily():\n    class A:\n        clean = 1\n        def f(self): return clean(1)\n    return A", {"helpers.clean"}),
        ("from helpers import Table\ndef daily(t: Table): return t", {"helpers.Table"}),
        ("from helpers import Table\ndef daily(t: 'list[Table]'): return t", {"helpers.Table"}),
        ("from helpers import Table\ndef daily(t: list['Table']): return t", {"helpers.Table"}),
        ("from typing import Literal\nfrom helpers import Table\ndef daily(t: Literal['Table']): return t", set()),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from helpers import Table\ndef daily(t: 'Table'): return t", set()),
        ("import helpers\nclass A(helpers.Table): pass\ndef daily(): return A", {"assets.A", "helpers.Table"}),
        ("import helpers\ndef daily(): return getattr(helpers, 'clean')(1)", {"helpers.clean"}),
        ("import importlib\ndef daily(): return importlib.import_module('helpers').clean(1)", {"helpers.clean"}),
        ("import importlib\ndef daily():\n    m = importlib.import_module('helpers')\n    return m.clean", {"helpers.clean", "helpers.other", "helpers.LIMIT", "helpers.Table"}),
        ("import helpers\ndef daily(): return [h.clean for h in [helpers]]", {"helpers.clean", "helpers.other", "helpers.LIMIT", "helpers.Table"}),
        ("import helpers\ntable = helpers.Table()\ndef daily(): return table.rows", {"assets.table", "helpers.Table"}),
        ("import helpers\ndef a(): return b()\ndef b(): return a(), helpers.clean(1)\ndef daily(): return a()", {"assets.a", "assets.b", "helpers.clean"}),
        ("from functools import partial\nfrom helpers import clean\nc = partial(clean, 1)\ndef daily(): return c()", {"assets.c", "helpers.clean"}),
        ("from lazy import thing\ndef daily(): return thing", {"lazy.__getattr__"}),
    ],
)  # fmt: skip
def test_names_are_followed_by_the_rules_of_scopes(read, assets, reached):
    files = {
        "assets.py": assets,
        "helpers.py": HELPERS,
        "pkg/__init__.py": "from .sub.mod import go\n__all__ = ['shown']\ndef shown(): return 1\n",
        "pkg/sub/__init__.py": "",
        "pkg/sub/mod.py": "def go(): return 1\n",
        "lazy.py": "def __getattr__(name): return name\n",
    }
    assert names(read(files)) == {"assets.daily"} | reached


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("X = 1", "X = 2"),
        ("X = 1", "X = 1.0"),
        ("X = 1", "X = True"),
        ("X = b'a'", "X = 'a'"),
        ("X = 0.0", "X = -0.0"),
        ("X = None", "X = ..."),
        ("X = 1\nX += 1", "X = 1\nX += 2"),
        ("X, Y = 1, 2", "X, Y = 2, 2"),
        ("[X, *Y] = 1, 2", "[X, *Y] = 2, 2"),
        ("if len('a'):\n    X = 1\nelse:\n    X = 2", "if len('a'):\n    X = 1\nelse:\n    X = 3"),
        ("if len('a'):\n    X = 1", "if len('ab'):\n    X = 1"),
        ("try:\n    import nothing_here\n    X = 1\nexcept ImportError:\n    X = 2", "try:\n    import nothing_here\n    X = 1\nexcept ImportError:\n    X = 3"),
        ("X = {}\nfor k in 'ab':\n    X[k] = 1", "X = {}\nfor k in 'abc':\n    X[k] = 1"),
        ("X = []\nX.append(1)", "X = []\nX.append(2)"),
        ("X = {}\nX.update(a=1)", "X = {}\nX.update(a=2)"),
        ("X = {}\nX['a'] = 1", "X = {}\nX['a'] = 2"),
        ("X = {'a': []}\nX['a'].append(1)", "X = {'a': []}\nX['a'].append(2)"),
        ("X = [3, 1]\nimport heapq\nheapq.heapify(X)", "X = [3, 1]\nimport heapq\nheapq.heapify(X[:])"),
        ("class X: pass\nX.limit = 1", "class X: pass\nX.limit = 2"),
        ("class X: pass\nsetattr(X, 'limit', 1)", "class X: pass\nsetattr(X, 'limit', 2)"),
        ("from enum import Enum\nclass X(Enum):\n    A = 1", "from enum import Enum\nclass X(Enum):\n    A = 2"),
        ("from dataclasses import dataclass\n@dataclass\nclass X:\n    a: int = 1", "from dataclasses import dataclass\n@dataclass\nclass X:\n    a: str = 1"),
        ("from dataclasses import dataclass\n@dataclass\nclass X:\n    a: int = 1", "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass X:\n    a: int = 1"),
        ("if (Y := 1):\n    X = Y", "if (Y := 2):\n    X = Y"),
        ("Z = 1\nX = Z", "Z = 2\nX = Z"),
        ("def f(): return 1\nX = f()", "def f(): return 2\nX = f()"),
        ("def f(): return 1\nX = {'f': f}", "def f(): return 2\nX = {'f': f}"),
        ("import contextlib\nwith contextlib.suppress(KeyError):\n    X = 1", "import contextlib\nwith contextlib.suppress(KeyError):\n    X = 2"),
    ],
)  # fmt: skip
def test_a_constant_is_all_statements_that_make_or_change_it(read, before, after):
    tail = "\ndef daily(): return X\n"
    assert read({"assets.py": before + tail}).hash != read({"assets.py": after + tail}).hash


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("X = 1\nif len('a'):\n    Y = 1\n    X = 2", "X = 1\nif len('a'):\n    Y = 2\n    X = 2"),
        ("try:\n    X = 1\n    def f(): return 1\nexcept KeyError: pass", "try:\n    X = 1\n    def f(): return 2\nexcept KeyError: pass"),
        ("X = 1\nprint(X)", "X = 1\nprint(X, X)"),
        ("X = []\nY = []\nY.append(1)", "X = []\nY = []\nY.append(2)"),
        ("X: int = 1", "X = 1"),
        ("X = 'a' 'b'", "X = 'ab'"),
        ("X = 1_000", "X = 1000"),
        ("X = (1)", "X = 1"),
    ],
)  # fmt: skip
def test_what_stands_beside_a_constant_is_not_its_text(read, before, after, capsys):
    tail = "\ndef daily(): return X\n"
    assert read({"assets.py": before + tail}).hash == read({"assets.py": after + tail}).hash


def test_functions_registered_from_another_module_are_reached(read):
    files = {
        "assets.py": "import registry, steps\ndef daily(): return registry.STEPS['a']()",
        "registry.py": "STEPS = {}\ndef step(f):\n    STEPS['a'] = f\n    return f\n",
        "steps.py": "from registry import step\n@step\ndef one(): return 1\n",
    }
    found = read(files)
    assert "steps.one" in names(found)
    assert found.hash != read({**files, "steps.py": files["steps.py"].replace("1", "2")}).hash


def test_implementations_of_a_single_dispatch_are_reached(read):
    files = {
        "assets.py": """
            from functools import singledispatch
            @singledispatch
            def show(x): return 1
            @show.register
            def _(x: int): return 2
            def daily(): return show(3)
        """
    }
    changed = {"assets.py": files["assets.py"].replace("return 2", "return 4")}
    assert read(files).hash != read(changed).hash


def test_a_class_brings_its_bases_and_their_constants(read):
    files = {
        "assets.py": "from tables import Child\ndef daily(): return Child().go()",
        "tables.py": "from base import Parent\nclass Child(Parent): pass\n",
        "base.py": "STEP = 2\nclass Parent:\n    def go(self): return STEP\n",
    }
    assert names(read(files)) == {"assets.daily", "tables.Child", "base.Parent", "base.STEP"}


def test_a_ring_of_imports_and_of_names_ends(read):
    files = {
        "assets.py": "import left\ndef daily(): return left.a()",
        "left.py": "import right\ndef a(): return right.b()\n",
        "right.py": "import left\nfrom left import *\ndef b(): return left.a(), missing\n",
    }
    assert names(read(files)) == {"assets.daily", "left.a", "right.b"}


def test_files_that_were_read_are_listed_with_their_hashes(workshop):
    import hashlib

    from anabranch.pipeline.fingerprint import CodeReader

    root = workshop.write(BASE)
    with workshop.imported(root, "assets:daily") as daily:
        reader = CodeReader(root)
        reader.of(daily)
    listed = reader.files()
    assert {"assets.py", "helpers.py", "inner/deepest.py", "wide/constants.py"} <= set(listed)
    assert listed["helpers.py"] == hashlib.sha256((root / "helpers.py").read_bytes()).hexdigest()


def test_a_part_says_where_it_stands(read):
    found = {part.name: part for part in read(BASE).parts}
    assert str(found["inner.deepest.tidy"]) == "function inner.deepest.tidy (inner/deepest.py:2)"
    assert found["helpers.Table"].kind == "class"
    assert found["assets.LIMIT"].kind == "constant"
    assert found["assets.daily"].kind == "function"
