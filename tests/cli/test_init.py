"""`init`: a project that runs at once, and nothing of anybody's overwritten."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

from anabranch.cli import main, template
from anabranch.cli.template import NEEDS

TEMPLATES = Path(template.__file__).with_name("templates")


def git(folder, *words):
    return subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_init_then_run_on_main_works(here, capsys):
    assert main(["init", "shop"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "next: cd shop && anabranch run"
    assert git(here / "shop", "branch", "--show-current") == "main"
    assert git(here / "shop", "status", "--porcelain") == ""
    assert main(["-C", "shop", "run", "--in-process"]) == 0
    assert "published as production@1" in capsys.readouterr().out
    assert main(["-C", "shop", "check", "--in-process"]) == 0
    assert git(here / "shop", "status", "--porcelain") == ""


def test_the_project_is_called_after_its_folder_or_as_one_says(here, capsys):
    main(["init", "my shop!"])
    assert 'name = "my shop"' in (here / "my shop!/anabranch.toml").read_text()
    main(["init", "other", "--name", "orders"])
    assert 'name = "orders"' in (here / "other/anabranch.toml").read_text()
    assert "{{" not in (here / "other/anabranch.toml").read_text() + (here / "other/README.md").read_text()
    capsys.readouterr()


def test_init_works_in_the_present_folder(here, capsys):
    assert main(["init"]) == 0
    assert (here / "anabranch.toml").exists()
    assert capsys.readouterr().out.splitlines()[-1] == "next: anabranch run"


def test_a_second_init_is_refused_and_changes_nothing(here, capsys):
    main(["init", "shop"])
    before = (here / "shop/anabranch.toml").read_bytes()
    assert main(["init", "shop", "--name", "other"]) == 2
    assert "holds a project already" in capsys.readouterr().err
    assert (here / "shop/anabranch.toml").read_bytes() == before


def test_files_that_are_there_are_left_alone_and_told(here, capsys):
    (here / "shop/pipeline").mkdir(parents=True)
    (here / "shop/README.md").write_text("mine")
    (here / "shop/pipeline/definitions.py").symlink_to("/nowhere")
    assert main(["init", "shop", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (here / "shop/README.md").read_text() == "mine"
    assert os.readlink(here / "shop/pipeline/definitions.py") == "/nowhere"
    assert told["kept"] == ["README.md", "pipeline/definitions.py"]
    assert "README.md" not in told["created"]


def test_inside_a_repository_nothing_is_committed_and_its_main_branch_is_taken(here, capsys):
    git(here, "init", "-q", "-b", "master")
    (here / "mine.txt").write_text("mine")
    git(here, "add", "mine.txt")
    git(here, "commit", "-qm", "first")
    git(here, "switch", "-qc", "feature")
    assert main(["init", "shop", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["new_repository"] is False
    assert told["git_commit"] is None
    assert told["git_branch"] == "master"
    assert 'git_branch = "master"' in (here / "shop/anabranch.toml").read_text()
    assert git(here, "log", "--format=%s") == "first"
    assert not (here / "shop/.git").exists()


def test_the_next_step_in_a_repository_is_to_commit(here, capsys):
    git(here, "init", "-q", "-b", "main")
    main(["init", "shop"])
    assert "git add -A && git commit" in capsys.readouterr().out.splitlines()[-1]


def imported_by(template):
    """Top-level names that a template's code imports, its own tests apart."""
    folder = TEMPLATES / template
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                found |= {a.value for a in node.args if node.func.attr == "find_spec"}
    own = {file.name.removesuffix(".py") for file in folder.iterdir()}
    core = {name.partition(">")[0] for name in requires("anabranch") if "extra ==" not in name}
    return found - own - core - set(sys.stdlib_module_names) - {"anabranch", "pytest"}


@pytest.mark.parametrize("template", sorted(NEEDS))
def test_a_template_names_all_packages_that_its_code_imports(template):
    assert imported_by(template) == set(NEEDS[template])


def test_where_an_example_needs_what_is_not_installed_the_next_step_installs_it(here, capsys, monkeypatch):
    monkeypatch.setattr(
        "anabranch.cli.template.find_spec", lambda name: None if name == "polars" else object()
    )
    assert main(["init", "--example", "flights", "trip"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-2:] == [
        "note: not installed yet: polars",
        "next: cd trip && pip install -r requirements.txt && anabranch run",
    ]
    assert "polars" in (here / "trip/requirements.txt").read_text()
    assert main(["init", "--example", "flights", "again", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == ["polars"]


def test_without_a_name_for_git_everything_is_made_but_the_commit(here, capsys, monkeypatch):
    for role in ("AUTHOR", "COMMITTER"):
        for what in ("NAME", "EMAIL"):
            monkeypatch.delenv(f"GIT_{role}_{what}", raising=False)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.useConfigOnly")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    assert main(["init", "shop"]) == 0
    out = capsys.readouterr().out
    assert "git does not know who you are" in out
    assert "git add -A && git commit" in out.splitlines()[-1]
    assert (here / "shop/anabranch.toml").exists()


def test_a_folder_that_can_t_be_made_is_a_sentence(here, capsys):
    (here / "file").write_text("")
    assert main(["init", "file/shop"]) == 2
    assert "can't be made" in capsys.readouterr().err


def test_the_example_is_a_whole_project(here, capsys):
    assert main(["init", "--example", "flights", "trip", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "anabranch.toml" in told["created"]
    assert ".gitignore" in told["created"]
    assert told["git_commit"]
    assert not [name for name in told["created"] if name.endswith(".pyc")]
