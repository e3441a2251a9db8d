"""Objects of the interpreter: where their code is, and what they hold."""

from __future__ import annotations

import math
import sys

import pytest

from anabranch.pipeline.fingerprint import CodeReader


def names(found) -> set[str]:
    return {part.name for part in found.parts}


def changed(read, before: str, after: str, target: str = "assets:daily", **others: str) -> bool:
    more = {f"{name}.py": text for name, text in others.items()}
    return read({"assets.py": before, **more}, target).hash != read({"assets.py": after, **more}, target).hash


@pytest.mark.parametrize(
    ("target", "before", "after"),
    [
        ("assets:daily", "daily = lambda x: x + 1", "daily = lambda x: x + 2"),
        ("assets:F.0", "F = [lambda x: x + 1, lambda x: x + 2]", "F = [lambda x: x + 3, lambda x: x + 2]"),
        ("assets:F.1", "F = [lambda x: x + 1, lambda x: x + 2]", "F = [lambda x: x + 1, lambda x: x + 3]"),
        ("assets:F.1", "F = [lambda: (lambda: 1), lambda: (lambda: 2)]", "F = [lambda: (lambda: 1), lambda: (lambda: 3)]"),
        ("assets:daily", "def make(n):\n    def f(): return n\n    return f\ndaily = make(1)", "def make(n):\n    def f(): return n\n    return f\ndaily = make(2)"),
        ("assets:daily", "def make(n):\n    return lambda: n\ndaily = make({'a': [1]})", "def make(n):\n    return lambda: n\ndaily = make({'a': [2]})"),
        ("assets:daily", "def a(): return 1\ndef make(n):\n    return lambda: n()\ndaily = make(a)", "def a(): return 2\ndef make(n):\n    return lambda: n()\ndaily = make(a)"),
        ("assets:F.0", "F = []\nfor n in (1, 2):\n    def f(n=n): return n\n    F.append(f)", "F = []\nfor n in (3, 2):\n    def f(n=n): return n\n    F.append(f)"),
        ("assets:daily", "from functools import partial\ndef f(x): return x\ndaily = partial(f, 1)", "from functools import partial\ndef f(x): return x\ndaily = partial(f, 2)"),
        ("assets:daily", "from functools import partial\ndef f(x): return x\ndaily = partial(f, x=1)", "from functools import partial\ndef f(x): return x\ndaily = partial(f, x=2)"),
        ("assets:daily", "from functools import partial\ndef f(x): return x\ndaily = partial(f, 1)", "from functools import partial\ndef f(x): return -x\ndaily = partial(f, 1)"),
        ("assets:daily", "from functools import lru_cache\n@lru_cache\ndef daily(): return 1", "from functools import lru_cache\n@lru_cache\ndef daily(): return 2"),
        ("assets:daily", "class A:\n    def __init__(self, n): self.n = n\n    def __call__(self): return self.n\ndaily = A(1)", "class A:\n    def __init__(self, n): self.n = n\n    def __call__(self): return self.n\ndaily = A(2)"),
        ("assets:daily", "class A:\n    def __call__(self): return 1\ndaily = A()", "class A:\n    def __call__(self): return 2\ndaily = A()"),
        ("assets:daily", "class A:\n    n = 1\n    def go(self): return self.n\ndaily = A().go", "class A:\n    n = 2\n    def go(self): return self.n\ndaily = A().go"),
        ("assets:A.go", "class A:\n    n = 1\n    def go(self): return self.n", "class A:\n    n = 2\n    def go(self): return self.n"),
        ("assets:daily", "class A:\n    n = 1\n    @classmethod\n    def go(cls): return cls.n\ndaily = A.go", "class A:\n    n = 2\n    @classmethod\n    def go(cls): return cls.n\ndaily = A.go"),
        ("assets:A", "class A:\n    n = 1", "class A:\n    n = 2"),
        ("assets:A.B", "class A:\n    class B:\n        n = 1", "class A:\n    class B:\n        n = 2"),
        ("assets:A", "def make(n):\n    class A:\n        def go(self): return n\n    return A\nA = make(1)", "def make(n):\n    class A:\n        def go(self): return n\n    return A\nA = make(2)"),
        ("assets:A", "class P:\n    n = 1\nA = type('A', (P,), {})", "class P:\n    n = 2\nA = type('A', (P,), {})"),
        ("assets:daily", "def deco(n):\n    def inner(f):\n        def w(): return f() + n\n        return w\n    return inner\n@deco(1)\ndef daily(): return 1", "def deco(n):\n    def inner(f):\n        def w(): return f() + n\n        return w\n    return inner\n@deco(2)\ndef daily(): return 1"),
        ("assets:daily", "def deco(f):\n    def w(): return f()\n    return w\n@deco\ndef daily(): return 1", "def deco(f):\n    def w(): return f()\n    return w\n@deco\ndef daily(): return 2"),
        ("assets:daily", "def deco(f):\n    def w(): return f()\n    return w\n@deco\ndef daily(): return 1", "def deco(f):\n    def w(): return f(), 1\n    return w\n@deco\ndef daily(): return 1"),
        ("assets:daily", "from enum import Enum\nclass E(Enum):\n    A = 1\n    B = 2\ndef make(n):\n    return lambda: n\ndaily = make(E.A)", "from enum import Enum\nclass E(Enum):\n    A = 1\n    B = 2\ndef make(n):\n    return lambda: n\ndaily = make(E.B)"),
        ("assets:daily", "from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int\ndef make(n):\n    return lambda: n\ndaily = make(D(1))", "from dataclasses import dataclass\n@dataclass\nclass D:\n    a: int\ndef make(n):\n    return lambda: n\ndaily = make(D(2))"),
        ("assets:daily", "import datetime\ndef make(n):\n    return lambda: n\ndaily = make(datetime.date(2020, 1, 1))", "import datetime\ndef make(n):\n    return lambda: n\ndaily = make(datetime.date(2020, 1, 2))"),
        ("assets:daily", "class A:\n    __slots__ = ('n',)\n    def __init__(self, n): self.n = n\ndef make(n):\n    return lambda: n\ndaily = make(A(1))", "class A:\n    __slots__ = ('n',)\n    def __init__(self, n): self.n = n\ndef make(n):\n    return lambda: n\ndaily = make(A(2))"),
        ("assets:daily", "from collections import namedtuple\nP = namedtuple('P', 'a b')\ndef make(n):\n    return lambda: n\ndaily = make(P(1, 2))", "from collections import namedtuple\nP = namedtuple('P', 'a b')\ndef make(n):\n    return lambda: n\ndaily = make(P(1, 3))"),
        ("assets:daily", "from collections import OrderedDict\ndef make(n):\n    return lambda: n\ndaily = make(OrderedDict(a=1))", "from collections import OrderedDict\ndef make(n):\n    return lambda: n\ndaily = make(OrderedDict(a=2))"),
        ("assets:daily", "from functools import partialmethod\ndef f(self, n): return n\ndaily = partialmethod(f, 1)", "from functools import partialmethod\ndef f(self, n): return n\ndaily = partialmethod(f, 2)"),
        ("assets:daily", "async def daily(a):\n    async with a as b:\n        return [x async for x in b]", "async def daily(a):\n    async with a as b:\n        return [x async for x in a]"),
        ("assets:A", "def make(n):\n    class A:\n        @staticmethod\n        def go(): return n\n        @property\n        def x(self): return n\n    return A\nA = make(1)", "def make(n):\n    class A:\n        @staticmethod\n        def go(): return n\n        @property\n        def x(self): return n\n    return A\nA = make(2)"),
        ("assets:daily", "@property\ndef daily(self): return 1", "@property\ndef daily(self): return 2"),
    ],
)  # fmt: skip
def test_the_code_of_an_object_and_what_it_holds_count(read, target, before, after):
    assert changed(read, before, after, target)


@pytest.mark.parametrize(
    ("target", "before", "after"),
    [
        ("assets:F.0", "F = [lambda x: x + 1, lambda x: x + 2]", "F = [lambda x: x + 1, lambda x: x + 3]"),
        ("assets:F.0", "def make(n):\n    def f(): return n\n    return f\nF = [make(1), make(2)]", "def make(n):\n    def f(): return n\n    return f\nF = [make(1), make(3)]"),
        ("assets:daily", "def make():\n    def daily(): return 1\n    def other(): return 1\n    return daily\ndaily = make()", "def make():\n    def daily(): return 1\n    def other(): return 2\n    return daily\ndaily = make()"),
        ("assets:daily", "daily = lambda x: x + 1", "\n# moved\ndaily  =  (lambda   x: x + 1)"),
        ("assets:daily", "def daily(): return 1\ndef _(): return 1", "def daily(): return 1\ndef _(): return 2"),
        ("assets:F.0", "F = []\ndef add(f):\n    F.append(f)\n@add\ndef _(): return 1\n@add\ndef _(): return 2", "F = []\ndef add(f):\n    F.append(f)\n@add\ndef _(): return 1\n@add\ndef _(): return 3"),
        ("assets:daily", "from pathlib import Path\ndef make(n):\n    return lambda: n\ndaily = make(Path('/a'))", "from pathlib import Path\ndef make(n):\n    return lambda: n\ndaily = make(Path('/b'))"),
        ("assets:A.go", "class A:\n    def go(self): return 1\nclass B:\n    def go(self): return 1", "class A:\n    def go(self): return 1\nclass B:\n    def go(self): return 2"),
    ],
)  # fmt: skip
def test_what_an_object_does_not_hold_does_not_count(read, target, before, after):
    assert not changed(read, before, after, target)


def test_a_value_that_a_function_took_from_the_environment_does_not_count(read, monkeypatch):
    text = """
        import os
        def make():
            secret = os.environ["ANABRANCH_TEST_SECRET"]
            def daily(): return secret
            return daily
        daily = make()
    """
    found = []
    for secret in ("one", "two"):
        monkeypatch.setenv("ANABRANCH_TEST_SECRET", secret)
        found.append(read({"assets.py": text}))
    assert found[0] == found[1]
    assert found[0].notes == (
        "secret in assets.make.daily comes from the environment or a path, so its value does not count.",
    )


def test_a_resource_is_read_as_the_code_it_declares(read):
    text = """
        class Archive:
            def __init__(self, password): self.password = password
            def read(self): return 1
            @property
            def __anabranch_code__(self): return (type(self),)
        daily = Archive("one")
    """
    same = read({"assets.py": text.replace('"one"', '"two"')})
    found = read({"assets.py": text})
    assert names(found) == {"assets.Archive"}
    assert found.hash == same.hash
    assert found.hash != read({"assets.py": text.replace("return 1", "return 2")}).hash


def test_a_method_of_a_resource_that_an_asset_asks_for_by_annotation_counts(read):
    text = (
        "class Archive:\n    def read(self): return 1\ndef daily(archive: Archive): return archive.read()\n"
    )
    assert changed(read, text, text.replace("return 1", "return 2"))


LAZY = "import importlib\ndef daily(): return importlib.import_module('inner').daily()\n"


@pytest.mark.parametrize(
    "described",
    [
        "import anabranch as ab\n@ab.asset(description='a', owners=[X])\ndef daily(): return 1\n",
        "from anabranch import asset\n@asset\ndef daily(): return 1\n",
        "from common import asset as a\n@a(name='x')\ndef daily(): return 1\n",
        "import common\n@common.asset\ndef daily(): return 1\n",
    ],
)
def test_decorators_of_anabranch_only_describe(read, described):
    # `inner` is never imported here: it is read as it stands.
    common = {"common.py": "from anabranch import asset\n", "assets.py": LAZY}
    plain = read({**common, "inner.py": "def daily(): return 1\n"})
    assert read({**common, "inner.py": described}).hash == plain.hash


def test_an_asset_is_read_as_its_function(read):
    plain = "import anabranch as ab\nLIMIT = 3\ndef daily(): return LIMIT\n"
    asset = plain.replace("def daily", "@ab.asset(description='every day')\ndef daily")
    assert read({"assets.py": plain}) == read({"assets.py": plain})
    assert read({"assets.py": asset}).hash != read({"assets.py": asset.replace("3", "4")}).hash
    assert names(read({"assets.py": asset})) == {"assets.daily", "assets.LIMIT"}
    assert read({"assets.py": asset}).hash == read({"assets.py": asset.replace("every", "each")}).hash


def test_anabranch_itself_is_not_a_part(read):
    found = read(
        {"assets.py": "import anabranch\ndef daily(): return anabranch.__version__, anabranch.errors\n"}
    )
    assert names(found) == {"assets.daily"}


def test_which_of_two_functions_a_closure_holds_twice_counts(read):
    text = """
        def a(): return 1
        def b(): return 2
        def make(x, y, z):
            return lambda: (x, y, z)
        daily = make(a, b, a)
    """
    assert changed(read, text, text.replace("make(a, b, a)", "make(a, b, b)"))


def test_a_project_below_src_is_found_and_named_as_it_is_imported(workshop):
    root = workshop.write({"src/flow/__init__.py": "", "src/flow/assets.py": "def daily():\n    from flow import late\n    return late.x\n", "src/flow/late.py": "x = 1\n"})  # fmt: skip
    with workshop.imported(root / "src", "flow.assets:daily") as daily:
        found = CodeReader(root).of(daily)
    assert {(part.name, part.file) for part in found.parts} == {
        ("flow.assets.daily", "src/flow/assets.py"),
        ("flow.late.x", "src/flow/late.py"),
    }


def test_a_package_without_init_is_the_project_s_too(read):
    files = {
        "assets.py": "import space.inner\ndef daily(): return space.inner.go()\n",
        "space/inner.py": "def go(): return 1\n",
    }
    assert names(read(files)) == {"assets.daily", "space.inner.go"}


def test_the_same_function_run_as_a_script_has_the_same_code(workshop):
    import subprocess

    text = "def daily(): return helper()\ndef helper(): return 1\n"
    root = workshop.write({"assets.py": text})
    with workshop.imported(root, "assets:daily") as daily:
        expected = CodeReader(root).of(daily).hash
    script = text + (
        "if __name__ == '__main__':\n"
        "    from pathlib import Path\n"
        "    from anabranch.pipeline.fingerprint import CodeReader\n"
        "    print(CodeReader(Path(__file__).parent).of(daily).hash)\n"
    )
    (root / "assets.py").write_text(script)
    done = subprocess.run([sys.executable, root / "assets.py"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def test_what_is_kept_of_files_gives_the_same_answers(workshop, tmp_path):
    files = {
        "assets.py": """
            import os
            from helpers import *
            from helpers import deco as d
            @d("x")
            def daily(a: "Table" = LIMIT): return getattr(helpers, a), exec(a), importlib.import_module(a)
        """,
        "helpers.py": "__all__ = ['Table', 'LIMIT']\nLIMIT = 1\nclass Table: pass\ndef deco(x): return lambda f: f\n",
        "broken.py": "def (",
    }
    root = workshop.write(files)
    cache = tmp_path / "cache"
    with workshop.imported(root, "assets:daily") as daily:
        plain = CodeReader(root)
        first, second = CodeReader(root, cache_dir=cache), CodeReader(root, cache_dir=cache)
        assert plain.of(daily) == first.of(daily) == second.of(daily)
        assert plain.files() == second.files()
        (root / "helpers.py").write_text(files["helpers.py"].replace("LIMIT = 1", "LIMIT = 2"))
        assert CodeReader(root, cache_dir=cache).of(daily).hash != plain.of(daily).hash
        for damage in ("[]", "[1, 2]", "null"):
            lines = (cache / "code.jsonl").read_text().splitlines()
            keys = [line.partition(",")[0] for line in lines]
            (cache / "code.jsonl").write_text("".join(f"{key},{damage}]\n" for key in keys))
            from anabranch.pipeline import kept

            kept.kept_in.cache_clear()
            assert CodeReader(root, cache_dir=cache).of(daily) == CodeReader(root).of(daily)


def test_a_file_that_is_no_python_is_said(read):
    found = read(
        {"assets.py": "def daily():\n    import broken\n    return broken.x\n", "broken.py": "def ("}
    )
    assert found.notes[0].startswith("broken.py can't be parsed (")


def test_functions_of_a_nested_definition_are_not_listed_beside_it(read):
    text = """
        import functools
        def timed(f):
            @functools.wraps(f)
            def wrapper(): return f()
            return wrapper
        @timed
        def daily(): return 1
    """
    assert names(read({"assets.py": text})) == {"assets.daily", "assets.timed"}


def test_a_module_that_a_closure_holds_counts_as_a_whole(read):
    text = "import other\ndef make(n):\n    return lambda: n.x\ndaily = make(other)\n"
    found = read({"assets.py": text, "other.py": "x = 1\ny = 2\n"})
    assert names(found) == {"assets.make.<lambda>", "other.x", "other.y"}


def test_a_submodule_without_source_counts_by_its_file(read):
    files = {
        "assets.py": "from pkg import fast\ndef daily(): return fast.go()\n",
        "pkg/__init__.py": """
            import sys, types
            sys.modules["pkg.fast"] = fast_ = types.ModuleType("pkg.fast")
            fast_.__file__ = __file__.replace("__init__.py", "fast.so")
            globals()["fast"] = fast_
        """,
        "pkg/fast.so": "1",
    }
    found = read(files)
    assert names(found) == {"assets.daily", "pkg.fast"}
    assert found.hash != read({**files, "pkg/fast.so": "2"}).hash
    assert found.notes == (
        "pkg.fast is no Python source of the project and of no installed distribution, so its file counts as a whole.",
    )


def test_a_closure_names_its_variable(read):
    text = "def make(n):\n    def f(): return n\n    return f\ndaily = make(1)\n"
    assert names(read({"assets.py": text})) == {"assets.make.f", "assets.make.f[n]"}


def test_the_head_of_a_nested_function_brings_the_function_around_it(read):
    text = """
        def make(n):
            m = n + 1
            def again(f): return f
            @again
            def f(): return 1
            return f
        daily = make(1)
    """
    assert changed(read, text, text.replace("return f\n            @", "return f()\n            @"))


# What can't be read ---------------------------------------------------------------------------------------------------


def test_exec_and_its_like_are_said(read):
    found = read({"assets.py": "def daily(x):\n    exec(x)\n    return eval(x)\n"})
    assert found.notes == (
        "assets.daily calls eval(), and what that runs or names can't be followed.",
        "assets.daily calls exec(), and what that runs or names can't be followed.",
    )


def test_a_method_called_exec_is_not_meant(read):
    assert read({"assets.py": "def daily(x): return x.exec(), x.eval()\n"}).notes == ()


def test_an_import_by_a_computed_name_is_said(read):
    found = read({"assets.py": "import importlib\ndef daily(x):\n    return importlib.import_module(x)\n"})
    assert found.notes == (
        "assets.daily (assets.py:3) imports a module whose name is only known at run time, which can't be followed.",
    )


def test_an_attribute_by_a_computed_name_brings_the_whole_module(read):
    files = {
        "assets.py": "import h\ndef daily(x): return getattr(h, x)\n",
        "h.py": "A = 1\ndef b(): return 2\n",
    }
    found = read(files)
    assert names(found) == {"assets.daily", "h.A", "h.b"}
    assert found.notes == (
        "assets.daily asks h for a name that is only known at run time, so all of h counts.",
    )


def test_a_function_of_c_changes_with_its_distribution():
    found = CodeReader(__import__("pathlib").Path("/nowhere")).of(math.sqrt)
    assert names(found) == {"math.sqrt"}
    assert found.notes == ("math.sqrt is written in C and can't be read: it changes with Python itself.",)


def test_a_function_without_source_counts_by_its_bytecode_with_the_version_of_python(tmp_path):
    def made(text: str):
        scope: dict = {"__name__": "made"}
        exec(text, scope)
        return scope["f"]

    one, same, other = (
        CodeReader(tmp_path).of(made(text))
        for text in ("def f(): return 1", "\n\ndef f(): return 1", "def f(): return 2")
    )
    assert one.hash == same.hash != other.hash
    (part,) = one.parts
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert part.kind == "opaque"
    assert part.hash.startswith(f"py{version}:")
    assert one.notes == (
        f"made.f has no source, so its bytecode counts, and it counts as changed on another Python than {version}.",
    )


def test_a_value_that_has_no_text_is_said(read):
    text = "import threading\ndef make(n):\n    return lambda: n\ndaily = make(threading.Lock())\n"
    assert read({"assets.py": text}).notes == (
        "the value of assets.make.<lambda>[n] is a _thread.lock, which can't be read: only its type counts.",
    )


def test_a_file_that_changed_since_it_was_imported_is_said(workshop):
    root = workshop.write({"assets.py": "def daily(): return 1\n"})
    with workshop.imported(root, "assets:daily") as daily:
        (root / "assets.py").write_text("\n\n\ndef other(): return 1\n")
        (note,) = CodeReader(root).of(daily).notes
    assert note.startswith("assets.daily is not where assets.py had it when it was imported")


def test_a_name_made_at_run_time_is_said(read):
    found = read({"assets.py": "globals()['X'] = 1\ndef daily(): return X\n"})
    assert found.notes == ("assets.daily uses assets.X, which is made at run time and can't be followed.",)


# Other people's code ----------------------------------------------------------------------------------------------


def install(folder, name: str, version: str, files: dict[str, str]) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nText\n")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))


@pytest.fixture
def site(tmp_path, monkeypatch):
    folder = tmp_path / "lib" / "site-packages"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(folder))
    return folder


PROJECT = {"assets.py": "from river_lib import go\nimport sand_lib\ndef daily(): return go()\n"}


def forget(*modules: str) -> None:
    for module in list(sys.modules):
        if module.partition(".")[0] in modules:
            del sys.modules[module]


def test_the_version_of_a_distribution_that_the_code_imports_counts(read, site, tmp_path):
    install(site, "river", "1.0", {"river_lib/__init__.py": "def go(): return 1\n"})
    install(site, "sand", "3.0", {"sand_lib.py": ""})
    found = read(PROJECT)
    parts = {part.name: part.hash for part in found.parts}
    assert "distribution sand" not in parts, "it is imported, and not used by this code"
    assert parts["distribution river"] == "1.0"
    (site / "river-1.0.dist-info").rename(site / "river-1.1.dist-info")
    (site / "river-1.1.dist-info" / "METADATA").write_text("Name: river\nVersion: 1.1\n")
    after = read(PROJECT)
    assert after.hash != found.hash
    forget("river_lib", "sand_lib")


def test_packages_that_share_a_namespace_are_told_apart(read, site):
    install(site, "shore-one", "1", {"shore/one/__init__.py": "x = 1\n"})
    install(site, "shore-two", "2", {"shore/two/__init__.py": "x = 1\n"})
    found = read(
        {"assets.py": "import shore.one\nfrom shore.two import x\ndef daily(): return shore.one.x\n"}
    )
    assert names(found) == {"assets.daily", "distribution shore-one"}
    forget("shore")


def test_a_library_s_wrapper_leads_to_the_function_that_it_wraps(read, site):
    install(
        site,
        "river",
        "1.0",
        {"river_lib/__init__.py": "def deco(f):\n    def w(): return f()\n    return w\n"},
    )
    text = "from river_lib import deco\n@deco\ndef daily(): return 1\n"
    assert names(read({"assets.py": text})) == {"assets.daily", "distribution river"}
    assert changed(read, text, text.replace("1", "2"))
    forget("river_lib")


def test_a_module_beside_the_project_counts_as_a_whole_unless_it_is_named(workshop, tmp_path, monkeypatch):
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "stone_lib.py").write_text("def go(): return 1\ndef other(): return 1\n")
    monkeypatch.syspath_prepend(str(beside))
    root = workshop.write({"assets.py": "import stone_lib\ndef daily(): return stone_lib.go()\n"})
    with workshop.imported(root, "assets:daily") as daily:
        stray = CodeReader(root).of(daily)
        named = CodeReader(root, also=[beside]).of(daily)
    assert names(stray) == {"assets.daily", "stone_lib"}
    assert stray.notes == (
        "stone_lib is no Python source of the project and of no installed distribution, so its file counts as a whole.",
    )
    assert names(named) == {"assets.daily", "stone_lib.go"}
    assert {part.file for part in named.parts} == {"assets.py", "beside/stone_lib.py"}
    forget("stone_lib")


def test_what_is_installed_inside_the_project_is_not_the_project(tmp_path):
    reader = CodeReader(tmp_path)
    assert reader.is_project_file(tmp_path / "a" / "b.py")
    assert not reader.is_project_file(tmp_path / ".venv" / "lib" / "site-packages" / "b.py")
    assert not reader.is_project_file(tmp_path.parent / "b.py")
    assert not reader.is_project_file(f"{tmp_path}2/b.py")


def test_the_installed_distributions_of_this_interpreter_are_found():
    from importlib import metadata

    from anabranch.pipeline.distributions import Distributions

    found = Distributions()
    for module, distributions in (
        ("pyarrow", "pyarrow"),
        ("polars", "polars"),
        ("dateutil", "python-dateutil"),
    ):
        (one,) = found.of(module)
        assert (one.name, one.version) == (distributions, metadata.version(distributions))
    assert found.of("no_such_module") == ()
