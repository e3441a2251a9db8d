"""Fingerprints are pinned, and every supported Python computes the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from anabranch.pipeline.canonical import constant
from anabranch.pipeline.fingerprint import combine, config_hash, fingerprint

SOURCE = Path(__file__).parents[2] / "src" / "anabranch"
SUPPORTED = ("3.11", "3.12", "3.13")

PROJECT = {
    "assets.py": r'''
        """A module."""
        from __future__ import annotations
        import dataclasses, enum, functools, os, re
        from helpers import *
        from helpers import Table as T
        import helpers as h
        import pkg.deep

        ROWS: int = 0x10
        NUMBERS = (1, 1.0, True, None, ..., b"\x00a", 1e400, 3j, -5, 10**30, 123456789012345678901234567890)
        TEXT = "a" 'b' r"\d" "ä\u2028\ud800" u"c"
        TABLE = {k: v for k, v in zip("ab", NUMBERS) if k}
        for name in ("x", "y"):
            TABLE[name] = lambda n=name: n
        try:
            import nothing_here
        except ImportError:
            nothing_here = None

        def formatted(x, width=3):
            """Says it."""
            y = f"{x!r:>{width}} {x=} {{}} " f'{x:}' "tail" f"{h.LIMIT:{width}.{width}f}" f"{'nested' + str(1)}"
            return y + f"" + f"plain" + f"{x}{x!s}{x:%Y-%m-%d}"

        @dataclasses.dataclass(frozen=True)
        class Point(T):
            """A point."""
            x: int
            y: "list[T]" = dataclasses.field(default_factory=list)
            limit = h.LIMIT

            @property
            def norm(self) -> float:
                total: float = 0.0
                unused: int
                for value in (self.x, *self.y):
                    total += value ** 2 if value else 0
                else:
                    pass
                return total

            async def wait(self, *args: int, key: str = "k", **more):
                async with self as s:
                    async for a in s:
                        yield a
                return

        class Colour(enum.Enum):
            RED = 1

        def rows(point: Point, /, other: T | None = None, *, colour=Colour.RED) -> list[T]:
            global ROWS
            ROWS += 1
            def inner():
                nonlocal point
                point = clean(point)
                return [z for y in point if (z := y) for q in range(z)], {**{}}, {1, 2}, {a: b for a, b in ()}
            match point:
                case Point(x=0, y=[first, *rest]) | {"k": first, **rest} if first:
                    pass
                case (1 | None) as first:
                    rest = None
                case _:
                    return inner
            try:
                assert point, "no"
                with open(os.devnull) as a, open(os.devnull) as (b):
                    del a
            except* (ValueError, TypeError) as group:
                raise RuntimeError from group
            finally:
                x = yield from pkg.deep.go(TABLE, TEXT, NUMBERS)
            return lambda *a, k=ROWS, **kw: (a[1:2, ::3], not k, a if k else kw, re.compile("x"), formatted(x), nothing_here)

        def make(n):
            @functools.wraps(formatted)
            def made(x=n):
                return n, x
            return made

        FUNCTIONS = [make(k) for k in (1, {"a": [1.5, None]}, frozenset({"b", "a"}))]
        LAMBDAS = [lambda: 1, lambda: (lambda: 2), *[lambda k=k: k for k in "ab"]]
        PARTIAL = functools.partial(rows, colour=Colour.RED, other=T)
    ''',
    "helpers.py": """
        __all__ = ["clean"]
        LIMIT = 3
        class Table:
            '''A table.'''
            name = "t"
        @staticmethod
        def clean(x): return hidden(x)
        def hidden(x): return x if x > LIMIT else exec("x")
    """,
    "pkg/__init__.py": "",
    "pkg/deep.py": "from .. import nothing as n\ndef go(*x: int): return x, __name__\n".replace(
        "from .. import nothing as n\n", "from . import side\n"
    ).replace("return x,", "return x, side.AT,"),
    "pkg/side.py": "AT = 1\nAT |= 2\n",
}

SCRIPT = """
import importlib, json, sys, types
source, root = sys.argv[1:]
for name in ("anabranch", "anabranch.pipeline"):  # without what their __init__ imports: only the standard library
    package = types.ModuleType(name)
    package.__path__ = [source if name == "anabranch" else source + "/pipeline"]
    sys.modules[name] = package
from pathlib import Path
from anabranch.pipeline.fingerprint import CodeReader
sys.path.insert(0, root)
import assets
reader = CodeReader(Path(root))
roots = {"rows": assets.rows, "Point": assets.Point, "partial": assets.PARTIAL, "method": assets.Point(1).wait}
roots.update({f"function {n}": f for n, f in enumerate(assets.FUNCTIONS)})
roots.update({f"lambda {n}": f for n, f in enumerate(assets.LAMBDAS)})
found = {name: reader.of(one) for name, one in roots.items()}
print(json.dumps({name: [f.hash, {p.name: p.hash for p in f.parts}, f.notes] for name, f in found.items()}))
"""

PINNED = {
    "rows": "e947630f7e5d4e4e30c230b9f2752c16",
    "Point": "e74a64485f40b2ea8c721f058dd0d592",
    "partial": "218e142d69640615b291233102f54aee",
    "method": "5819c8250eca20649d73457ecaecd684",
    "function 0": "d7adb2b3546f831bde831b7db956cf84",
    "function 1": "5dd3312ef54e36ff7e35dd41b90d08a2",
    "function 2": "8da7dd32731a23a73e367592e4245205",
    "lambda 0": "e044ec6864d82f304187051a0029db32",
    "lambda 1": "4e8f9de16bdfdc4f5595197ee627b114",
    "lambda 2": "1b86df2689e711da8078ccff8db0fab5",
    "lambda 3": "dc0019514e48b3e26c7a201921064f09",
}


def interpreter(version: str) -> str | None:
    """A Python of that version on this machine, or None."""
    roots = [
        Path(sys.executable).resolve().parents[2],
        Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions",
    ]
    nearby = [str(p) for root in roots for p in sorted(root.glob(f"{version}.*/bin/python"))]
    for candidate in (sys.executable, shutil.which(f"python{version}"), *nearby):
        if candidate is None:
            continue
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return candidate
    return None


def read_by(python: str, root: Path) -> dict[str, list]:
    command = [python, "-B", "-W", "ignore", "-c", SCRIPT, str(SOURCE), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_supported_python_computes_the_pinned_fingerprints(version, tmp_path):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine")
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    found = read_by(python, tmp_path)
    assert {name: hash_ for name, (hash_, _, _) in found.items()} == PINNED


NEWER = {
    "assets.py": """
        from helpers import T, Table
        type Rows[K] = dict[K, Table]
        class Box[T]:
            item: T
        def rows[T: Table, *Ts, **P](x: T) -> Rows[T]:
            return x, f"{'a' + "b"}"
        FUNCTIONS = LAMBDAS = []
        PARTIAL, Point = rows, Box
        Box.wait = rows
        Box.__init__ = lambda self, x: None
    """,
    "helpers.py": "class T: pass\nclass Table: pass\n",
}


def test_syntax_that_only_newer_pythons_have_is_read_alike_by_them(tmp_path):
    pythons = [python for version in SUPPORTED[1:] if (python := interpreter(version))]
    if not pythons:
        pytest.skip("there is no Python newer than 3.11 on this machine")
    for name, text in NEWER.items():
        (tmp_path / name).write_text(dedent(text), encoding="utf-8")
    found = [read_by(python, tmp_path) for python in pythons]
    assert all(one == found[0] for one in found)
    assert set(found[0]["rows"][1]) == {"assets.rows", "assets.Rows", "helpers.Table"}


def test_hashes_of_plain_things_are_pinned():
    assert combine() == "cae66941d9efbd404e4d88758ea67670"
    assert combine("a", "bc") == "a4d2502de3aca3ac159bba2d99ea81a8"
    assert fingerprint(code="c", config="d", inputs={}) == "ebe98149ed08f27905a0c34d3a57534a"
    assert (
        fingerprint(
            code="c",
            config="d",
            inputs={"b": "1", "a": "2"},
            resources={"r": "s"},
            outside="o",
            extra={"k": "v"},
        )
        == "8cec66112a94c34f9bc370b51a04ee15"
    )
    assert config_hash({"b": 1, "a": [1.5, "x", None]})[0] == "6cc89eb231ce9e31d7150a358ede7695"


def test_a_list_of_strings_is_not_another_list():
    lists = [(), ("",), ("", ""), ("ab", "c"), ("a", "bc"), ("abc",), ("1:a",), ("1", ":a"), ("\ud800",)]
    assert len({combine(*strings) for strings in lists}) == len(lists)


def test_every_part_of_a_fingerprint_counts_and_the_order_of_mappings_does_not():
    base = {
        "code": "c",
        "config": "d",
        "inputs": {"a": "1", "b": "2"},
        "resources": {"r": "1"},
        "outside": "o",
        "extra": {"k": "v"},
    }
    assert fingerprint(**base) == fingerprint(**{**base, "inputs": {"b": "2", "a": "1"}})
    others = [
        {**base, "code": "d"},
        {**base, "config": "c"},
        {**base, "inputs": {"a": "2", "b": "1"}},
        {**base, "inputs": {"a": "1"}},
        {**base, "resources": {}},
        {**base, "resources": {"r": "2"}},
        {**base, "inputs": {"a": "1", "b": "2", "r": "1"}, "resources": {}},
        {**base, "outside": None},
        {**base, "outside": ""},
        {**base, "outside": "p"},
        {**base, "extra": {}},
        {**base, "extra": {"k": "w"}},
    ]
    found = {fingerprint(**base), *(fingerprint(**other) for other in others)}
    assert len(found) == len(others) + 1
    assert all(len(one) == 32 for one in found)


def test_literals_that_are_equal_in_python_are_not_one_literal():
    values = [1, 1.0, True, 1 + 0j, "1", b"1", 0.0, -0.0, None, ..., "", b"", float("inf"), 10**400, False, 0]
    assert len({constant(value) for value in values}) == len(values)
