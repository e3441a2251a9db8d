"""Completion: scripts for three shells, names from the catalog, quick, quiet and never failing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from anabranch.cli.complete import candidates


def test_each_shell_has_its_script(shop):
    for shell in ("bash", "zsh", "fish"):
        script = shop.ok("completion", shell).out
        assert f"_ANABRANCH_COMPLETE={shell}_complete" in script


def test_the_shell_is_taken_from_the_environment(shop, monkeypatch):
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert "fish_complete" in shop.ok("completion").out
    monkeypatch.setenv("SHELL", "/bin/nothing")
    assert shop("completion").code == 2


def test_bash_takes_the_script(shop):
    subprocess.run(["bash", "-n"], input=shop.ok("completion", "bash").out, text=True, check=True)


def complete(folder, *words):
    """What bash would be offered for the last word."""
    done = subprocess.run(
        [sys.executable, "-m", "anabranch"],
        cwd=folder,
        env={
            **os.environ,
            "_ANABRANCH_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["anabranch", *words]),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_commands_refs_assets_sandboxes_and_tags_are_completed(sandboxed):
    sandboxed.ok("tag", "before", "production@1")
    assert complete(sandboxed.path, "pro") == ["promote"]
    assert complete(sandboxed.path, "sandbox", "cl") == ["close"]
    assert complete(sandboxed.path, "diff", "production@") == ["production@0", "production@1"]
    assert "fix" in complete(sandboxed.path, "promote", "")
    assert complete(sandboxed.path, "run", "--select", "tot") == ["totals"]
    assert complete(sandboxed.path, "tag", "be") == ["before"]
    assert complete(sandboxed.path, "show", "bi") == ["biggest"]


def test_a_project_elsewhere_is_completed_too(sandboxed, tmp_path):
    assert complete(tmp_path, "-C", str(sandboxed.path), "run", "--select", "tot") == ["totals"]


@pytest.mark.parametrize(
    ("typed", "found"), [("+tot", ["+totals"]), ("orders,bi", ["orders,biggest"]), ("x", [])]
)
def test_the_signs_of_a_selection_are_kept(sandboxed, typed, found):
    assert candidates(["assets"], typed, sandboxed.path) == found


def test_git_branches_with_odd_names_are_completed_as_people_type_them(built):
    built.branch("feature/one")
    built.ok("run")
    assert "feature/one" in candidates(["sandboxes"], "fea", built.path)


def test_completion_makes_nothing_and_never_fails(shop, tmp_path):
    assert candidates(["refs", "assets", "sandboxes", "tags"], "", shop.path) == []
    assert not (shop.path / ".anabranch").exists()
    assert candidates(["refs"], "", tmp_path) == []
    settings = (shop.path / "anabranch.toml").read_text()
    (shop.path / "anabranch.toml").write_text("not toml")
    assert candidates(["refs"], "", shop.path) == []
    assert complete(shop.path, "diff", "pro") == []
    (shop.path / "anabranch.toml").write_text(settings)
    (shop.path / ".anabranch").mkdir()
    (shop.path / ".anabranch/catalog.db").write_bytes(b"nonsense" * 1000)
    assert candidates(["refs"], "", shop.path) == []


def test_completion_does_not_import_the_users_code(sandboxed):
    (sandboxed.path / "shop/definitions.py").write_text("raise SystemExit(1)")
    assert complete(sandboxed.path, "run", "--select", "tot") == ["totals"]
