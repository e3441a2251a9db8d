"""Importing a project's definitions: always what is on disk, and errors that name the user's own line."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from anabranch.errors import (
    CodeChangedError,
    DefinitionsError,
    LoadError,
    SignatureError,
)
from anabranch.pipeline.definitions import Definitions
from anabranch.pipeline.loader import Loaded, expect, load_definitions

HEAD = """
from anabranch.pipeline.asset import asset
from anabranch.pipeline.definitions import Definitions
"""


@pytest.fixture(autouse=True)
def interpreter() -> Iterator[None]:
    """Leaves the interpreter as it was."""
    modules, path, finders = set(sys.modules), list(sys.path), list(sys.meta_path)
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    sys.path[:], sys.meta_path[:] = path, finders


class Project:
    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))

    def load(self, target: str = "defs:defs", *, expected=None, source=None) -> Loaded:
        folders = [self.root / name for name in (source or ["."])]
        return load_definitions(target, root=self.root, source=folders, expected=expected)

    def value(self, target: str = "defs:defs"):
        """What the project's only asset returns."""
        (made,) = self.load(target).definitions.assets
        return made()


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path / "one")


def simple(value: str = "1", head: str = "") -> str:
    return f"{HEAD}{head}\n@asset\ndef a():\n    return {value}\n\ndefs = Definitions(assets=[a])\n"


# fresh


def test_definitions_are_loaded_with_the_hash_of_each_file_that_ran(project):
    project.write(
        {
            "defs.py": simple("helper()", "from tools.text import helper"),
            "tools/__init__.py": "",
            "tools/text.py": "def helper():\n    return 7\n",
            "unused.py": "raise RuntimeError\n",
        }
    )
    loaded = project.load()
    assert isinstance(loaded.definitions, Definitions)
    assert loaded.definitions.assets[0]() == 7
    assert set(loaded.files) == {"defs.py", "tools/__init__.py", "tools/text.py"}
    assert (
        loaded.files["tools/text.py"]
        == hashlib.sha256((project.root / "tools/text.py").read_bytes()).hexdigest()
    )


def test_an_edit_of_the_same_size_within_the_same_second_is_seen(project):
    project.write({"defs.py": simple("helper.N", "import helper"), "helper.py": "N = 1\n"})
    stat = os.stat(Path(__file__))
    for number in range(1, 6):
        project.write({"helper.py": f"N = {number}\n"})
        os.utime(project.root / "helper.py", (stat.st_mtime, stat.st_mtime))
        assert project.value() == number


def test_a_bytecode_file_is_neither_read_nor_written(project):
    import py_compile

    project.write({"defs.py": simple("helper.N", "import helper"), "helper.py": "N = 1\n"})
    stat = (project.root / "helper.py").stat()
    py_compile.compile(str(project.root / "helper.py"))
    project.write({"helper.py": "N = 2\n"})
    os.utime(project.root / "helper.py", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert project.value() == 2
    assert not list((project.root / "__pycache__").glob("defs.*"))


def test_a_module_that_is_new_is_found(project):
    project.write({"defs.py": simple("1")})
    assert project.value() == 1
    project.write({"defs.py": simple("late.N", "import late"), "late.py": "N = 2\n"})
    assert project.value() == 2


def test_a_module_that_is_gone_is_gone(project):
    project.write({"defs.py": simple("helper.N", "import helper"), "helper.py": "N = 1\n"})
    project.load()
    (project.root / "helper.py").unlink()
    with pytest.raises(LoadError, match="No module named 'helper'"):
        project.load()


def test_what_a_loaded_project_imports_late_can_be_held_to_what_was_planned(tmp_path):
    project = Project(tmp_path)
    project.write({"shop/late.py": "N = 1\n", "shop/defs.py": simple("1")})
    files = project.load("shop.defs").files
    expect({**files, "shop/late.py": hashlib.sha256(b"N = 1\n").hexdigest()})
    project.write({"shop/late.py": "N = 2\n"})
    with pytest.raises(CodeChangedError, match=r"shop/late\.py was edited"):
        importlib.import_module("shop.late")


def test_a_package_of_that_name_from_elsewhere_does_not_hide_the_projects(tmp_path):
    elsewhere = Project(tmp_path / "elsewhere")
    elsewhere.write({"flights/__init__.py": "", "flights/other.py": ""})
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(elsewhere.root)
        importlib.import_module("flights.other")
    project = Project(tmp_path / "one")
    project.write({"flights/defs.py": simple("1")})
    assert project.value("flights.defs") == 1


def test_a_folder_that_a_load_lent_to_the_path_goes_with_the_next_whatever_was_restored_between(tmp_path):
    one, two = Project(tmp_path / "one"), Project(tmp_path / "two")
    one.write({"flights/__init__.py": "", "flights/defs.py": simple("1")})
    two.write({"flights/defs.py": simple("2")})
    other = Project(tmp_path / "other")
    other.write({"defs.py": simple("3")})
    assert one.value("flights.defs") == 1
    path = list(sys.path)
    assert other.value() == 3
    sys.path[:] = path
    assert two.value("flights.defs") == 2


@pytest.mark.parametrize("package", [{}, {"flights/__init__.py": ""}])
def test_two_projects_with_equal_module_names_do_not_mix(tmp_path, package):
    one, two = Project(tmp_path / "one"), Project(tmp_path / "two")
    for number, each in enumerate((one, two)):
        each.write(
            {
                **package,
                "flights/defs.py": simple("helper.N", "from flights import helper"),
                "flights/helper.py": f"N = {number}\n",
            }
        )
    for _ in range(2):
        assert one.value("flights.defs") == 0
        assert two.value("flights.defs") == 1


def test_a_namespace_that_is_shared_with_an_installed_package_gives_the_projects_newest_module(
    project, tmp_path
):
    installed = tmp_path / "installed" / "shared"
    installed.mkdir(parents=True)
    (installed / "lib.py").write_text("")
    sys.path.append(str(installed.parent))
    project.write({"defs.py": simple("own.N", "import shared.lib\nfrom shared import own")})
    for number in range(2):
        project.write({"shared/own.py": f"N = {number}\n"})
        assert project.value() == number


def test_a_project_does_not_find_the_modules_of_another_one(tmp_path):
    one, two = Project(tmp_path / "one"), Project(tmp_path / "two")
    one.write({"defs.py": simple("1", "import helper"), "helper.py": ""})
    two.write({"defs.py": simple("2", "import helper")})
    one.load()
    with pytest.raises(LoadError, match="No module named 'helper'"):
        two.load()
    assert str(one.root) not in sys.path


def test_a_folder_that_was_on_the_path_before_stays_there(tmp_path):
    one, two = Project(tmp_path / "one"), Project(tmp_path / "two")
    sys.path.append(str(one.root))
    for each in (one, two):
        each.write({"defs.py": simple("1")})
        each.load()
    assert str(one.root) in sys.path


def test_modules_that_are_no_part_of_the_project_are_left_alone(project):
    import json

    project.write({"defs.py": simple("1", "import json")})
    project.load()
    assert sys.modules["json"] is json


def test_installed_packages_below_the_project_are_not_its_files(project):
    project.write(
        {
            "defs.py": simple("lib.N", "import lib"),
            ".venv/lib/site-packages/lib.py": "N = 4\n",
        }
    )
    loaded = project.load(source=[".", ".venv/lib/site-packages"])
    assert set(loaded.files) == {"defs.py"}
    assert loaded.definitions.assets[0]() == 4


def test_the_first_folder_with_a_module_wins(project):
    project.write({"src/defs.py": simple("1"), "defs.py": simple("2")})
    assert project.load(source=["src", "."]).definitions.assets[0]() == 1


def test_a_namespace_package_is_found(project):
    project.write({"deep/er/defs.py": simple("3")})
    assert project.value("deep.er.defs:defs") == 3


# changed after the plan


def test_a_file_that_was_edited_after_the_plan_is_refused(project):
    project.write({"defs.py": simple("helper.N", "import helper"), "helper.py": "N = 1\n"})
    planned = project.load().files
    project.load(expected=planned)
    project.write({"helper.py": "N = 2\n"})
    with pytest.raises(CodeChangedError, match=r"helper\.py was edited after the plan was made") as caught:
        project.load(expected=planned)
    assert caught.value.hint == "run the command again"


def test_a_module_that_is_imported_while_a_step_runs_is_held_to_the_plan_too(project):
    body = "N = 1\n"
    project.write({"defs.py": simple("__import__('late').N"), "late.py": body})
    planned = {**project.load().files, "late.py": hashlib.sha256(body.encode()).hexdigest()}
    (late,) = project.load(expected=planned).definitions.assets
    project.write({"late.py": "N = 2\n"})
    with pytest.raises(CodeChangedError, match=r"late\.py was edited"):
        late()


# errors


def test_a_module_that_does_not_exist_is_told_with_the_nearest(project):
    project.write({"flights.py": simple()})
    with pytest.raises(LoadError, match="the definitions module 'fligths' was not found") as caught:
        project.load("fligths:defs")
    assert caught.value.hint == "did you mean 'flights'?"
    assert "anabranch.toml" in caught.value.place


def test_where_nothing_is_near_the_folders_are_told(project):
    project.write({"flights.py": simple()})
    with pytest.raises(LoadError) as caught:
        project.load("zzz:defs")
    assert str(project.root) in caught.value.hint


def test_a_module_missing_inside_the_users_package_is_the_users_error(project):
    project.write({"flights/__init__.py": "", "flights/defs.py": "import flights.halpers\n"})
    with pytest.raises(LoadError, match=r"No module named 'flights\.halpers'") as caught:
        project.load("flights.defs:defs")
    assert caught.value.place == "flights/defs.py:1"
    assert caught.value.hint == "install it into this environment"


@pytest.mark.parametrize(
    ("code", "message", "line"),
    [
        ("\n\n1 / 0\n", "ZeroDivisionError: division by zero", 3),
        ("\ndef f(:\n", "SyntaxError", 2),
        ("\nif True:\nx = 1\n", "IndentationError", 3),
        ("raise SystemExit(3)\n", "SystemExit: 3", 1),
        ("import json\njson.loads('[')\n", "JSONDecodeError", 2),
        ("x = '\\x00\n", "SyntaxError", 1),
    ],
)
def test_an_error_while_importing_names_the_users_own_file_and_line(project, code, message, line):
    project.write({"defs.py": "import helper\n"})
    (project.root / "helper.py").write_text(code)
    with pytest.raises(LoadError, match=message) as caught:
        project.load()
    assert caught.value.place == f"helper.py:{line}"
    assert caught.value.message.startswith("importing defs:defs failed")
    frames = caught.value.facts["traceback"]
    assert "defs.py" in frames
    assert "importlib" not in frames


def test_ctrl_c_while_importing_is_not_swallowed(project):
    project.write({"defs.py": "raise KeyboardInterrupt\n"})
    with pytest.raises(KeyboardInterrupt):
        project.load()


def test_an_error_of_a_declaration_passes_through_with_a_short_place(project):
    project.write({"defs.py": f"{HEAD}\n@asset(name='no good')\ndef a():\n    return 1\n"})
    with pytest.raises(SignatureError) as caught:
        project.load()
    assert caught.value.place == "defs.py:5"


def test_an_error_of_the_definitions_without_a_place_gets_that_of_the_users_line(project):
    project.write({"defs.py": f"{HEAD}\n\ndefs = Definitions(assets=[print])\n"})
    with pytest.raises(DefinitionsError, match="holds print") as caught:
        project.load()
    assert caught.value.place == "defs.py:6"


def test_what_fails_once_can_be_mended(project):
    project.write({"defs.py": "import helper\n", "helper.py": "1 / 0\n"})
    with pytest.raises(LoadError):
        project.load()
    project.write({"defs.py": simple("helper.N", "import helper"), "helper.py": "N = 5\n"})
    assert project.value() == 5


def test_what_a_module_prints_goes_to_stderr(project, capsys):
    project.write({"defs.py": simple("1", "print('hello')")})
    project.load()
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "hello\n"


# the attribute


def test_without_an_attribute_the_only_definitions_are_taken(project):
    project.write({"defs.py": simple("6")})
    assert project.value("defs") == 6


@pytest.mark.parametrize(("tail", "count"), [("\nother = Definitions()\n", 2), ("\ndel defs\n", 0)])
def test_without_an_attribute_there_must_be_exactly_one(project, tail, count):
    project.write({"defs.py": simple() + tail})
    with pytest.raises(LoadError, match=f"the module defs holds {count} ab.Definitions") as caught:
        project.load("defs")
    assert caught.value.hint == "name one: defs:defs"


@pytest.mark.parametrize(
    ("target", "message", "hint"),
    [
        ("defs:dfes", "'dfes' in the module defs is missing", "did you mean 'defs'?"),
        ("defs:zz", "'zz' in the module defs is missing", "write defs:defs"),
        ("defs:a", "'a' in the module defs is a Asset, not an ab.Definitions", "write defs:defs"),
        ("defs:none", "'none' in the module defs is missing", "did you mean"),
    ],
)
def test_an_attribute_that_is_no_definitions_is_told(project, target, message, hint):
    project.write({"defs.py": simple() + "\nnone = None\nnon = Definitions()\ndel non\n"})
    with pytest.raises(LoadError) as caught:
        project.load(target)
    assert caught.value.message == message
    if hint != "did you mean":
        assert caught.value.hint == hint
