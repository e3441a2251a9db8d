"""Help: quick to come, complete, and one with the reference."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from anabranch.cli import main
from anabranch.cli.app import COMMANDS, app
from anabranch.cli.reference import all_commands, cli_reference
from anabranch.cli.verb import Shared, Verb
from anabranch.errors import EXIT_CODES

HEAVY = (
    "pydantic",
    "duckdb",
    "pyarrow",
    "pyiceberg",
    "rich",
    "sqlglot",
    "numpy",
    "pandas",
    "polars",
    "sqlite3",
    "asyncio",
)


@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["sandbox", "--help"], ["completion", "bash"], ["nonsense"]]
)
def test_help_imports_nothing_heavy(words):
    program = (
        "import sys; from anabranch.cli import main; main(sys.argv[1:]); "
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_overview_lists_every_command_and_every_exit_code(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, listed in COMMANDS.items():
        assert f"  {name} " in out
        assert listed.summary in out
    for code in EXIT_CODES:
        assert f"\n  {code}" in out


@pytest.mark.parametrize("name", sorted(all_commands()))
def test_each_help_tells_options_exit_codes_and_json(capsys, name):
    command = all_commands()[name]
    assert main([*name.split(), "--help"]) == 0
    out = capsys.readouterr().out
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.opts[0] in out
            assert param.help, f"{name} {param.name}"
    for code in EXIT_CODES:
        assert f"\n  {code}" in out
    assert "Options of every command" in out
    if isinstance(command, Verb):
        assert command.shape, name
        assert "JSON (--json) holds" in out


def test_help_is_help_whatever_else_is_said(capsys):
    assert main(["run", "--json", "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Usage: anabranch run")
    assert not out.rstrip().endswith("}")


def test_every_command_takes_the_shared_options():
    own = {param.opts[0] for param in app.params if isinstance(param, Shared)}
    assert own == {"-C", "--json", "--no-color", "-v"}
    for name, command in all_commands().items():
        assert {param.opts[0] for param in command.params if isinstance(param, Shared)} == own, name


def test_the_reference_names_every_command_option_and_json_key():
    text = cli_reference()
    for name, command in all_commands().items():
        assert f"### anabranch {name}\n" in text
        part = text.partition(f"### anabranch {name}\n")[2].partition("\n### ")[0]
        for param in command.params:
            if isinstance(param, click.Option) and not isinstance(param, Shared):
                assert f"`{param.opts[0]}`" in part
        if isinstance(command, Verb):
            for key in command.shape:
                assert f"| `{key}` |" in part
    for code in EXIT_CODES:
        assert f"| {code} |" in text


def test_the_reference_is_the_same_each_time():
    assert cli_reference() == cli_reference()
