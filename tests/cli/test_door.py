"""The one door: sentences, hints, exit codes and one JSON shape for whatever goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from anabranch.cli import app as app_module
from anabranch.cli import main
from anabranch.cli.verbs import starting
from anabranch.errors import EXIT_CODES, AnabranchError, GateError, LeaseError, SettingsError


def raising(monkeypatch, error):
    """Makes `anabranch version` raise."""

    def fail(*_args, **_rest):
        raise error

    monkeypatch.setattr(starting.version, "callback", fail)


def test_an_error_of_ours_is_place_message_and_hint_on_stderr(monkeypatch, capsys):
    raising(monkeypatch, SettingsError("it is wrong", place="anabranch.toml:3 project.name", hint="mend it"))
    assert main(["version"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: anabranch.toml:3 project.name: it is wrong\nhint: mend it\n"


@pytest.mark.parametrize(("error", "code"), [(GateError("no"), 3), (LeaseError("busy"), 4)])
def test_an_error_has_the_exit_code_of_its_class(monkeypatch, capsys, error, code):
    raising(monkeypatch, error)
    assert main(["version"]) == code
    assert code in EXIT_CODES


def test_with_json_an_error_has_the_one_shape_on_stdout_and_keeps_its_code(monkeypatch, capsys):
    raising(
        monkeypatch, GateError("no", hint="ask", verdict={"passed": False, "reasons": [], "warnings": []})
    )
    assert main(["version", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"error"}
    assert set(told["error"]) == {"type", "message", "place", "hint", "facts"}
    assert told["error"]["type"] == "GateError"


@pytest.mark.parametrize(
    "words",
    [
        ["--json", "nonsense"],
        ["nonsense", "--json"],
        ["version", "--nonsense", "--json"],
        ["sql", "--json"],
        ["--json"],
    ],
)
def test_mistakes_in_the_command_have_the_one_shape_too(capsys, words):
    assert main(words) == 2
    told = json.loads(capsys.readouterr().out)
    assert set(told["error"]) == {"type", "message", "place", "hint", "facts"}
    assert told["error"]["type"] == "UsageError"


def test_verbose_shows_the_traceback_of_our_own_error(monkeypatch, capsys):
    raising(monkeypatch, SettingsError("it is wrong"))
    assert main(["version", "-v"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err
    assert main(["version"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_unexpected_exception_keeps_its_traceback_and_asks_for_a_report(monkeypatch, capsys):
    raising(monkeypatch, ZeroDivisionError("division by zero"))
    assert main(["version"]) == 70
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback (most recent call last)" in err
    assert "error: ZeroDivisionError: division by zero" in err
    assert "report" in err.splitlines()[-1]
    assert 70 in EXIT_CODES


def test_a_reply_that_can_t_be_worded_is_a_mistake_of_ours_not_a_loose_traceback(monkeypatch, capsys):
    from anabranch.cli.face import Reply

    monkeypatch.setattr(starting.version, "callback", lambda *_a, **_k: Reply({}, lambda: 1 / 0))
    assert main(["version"]) == 70
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_an_interruption_is_told_in_a_sentence_with_code_130(monkeypatch, capsys):
    raising(monkeypatch, KeyboardInterrupt())
    assert main(["version"]) == 130
    assert "interrupted" in capsys.readouterr().err
    raising(monkeypatch, KeyboardInterrupt())
    assert main(["version", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "Interrupted"


def test_hostile_text_in_an_error_reaches_no_terminal(monkeypatch, capsys):
    raising(monkeypatch, AnabranchError("bad \x1b[2J\u202e name\rover", hint="\x07ring"))
    main(["version"])
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\r" not in err
    assert "\x07" not in err
    assert "\u202e" not in err
    assert "\\x1b[2J" in err


def test_all_mistakes_of_the_settings_are_told(make_shop):
    shop = make_shop(settings='[project]\nname = 3\ndefinitions = "no thing"\n')
    done = shop("status")
    assert done.code == 2
    assert "anabranch.toml:2 project.name" in done.err
    assert "project.definitions" in done.err
    assert "environments" in done.err


def test_a_mistake_in_the_users_module_shows_its_place_and_frames(make_shop):
    shop = make_shop(
        definitions="import anabranch as ab\n\ndef broken():\n    raise ValueError('oh')\n\nbroken()\n"
    )
    done = shop("plan")
    assert done.code == 2
    assert "shop/definitions.py:4" in done.err
    assert "in broken" in done.err
    assert "ValueError: oh" in done.err


@pytest.mark.parametrize(
    ("typed", "meant"), [("pormote", "promote"), ("stauts", "status"), ("snadbox", "sandbox")]
)
def test_an_unknown_command_suggests_the_nearest(capsys, typed, meant):
    assert main([typed]) == 2
    err = capsys.readouterr().err
    assert f"there is no command '{typed}'" in err
    assert f"did you mean '{meant}'?" in err


def test_an_unknown_subcommand_and_an_unknown_option_suggest_the_nearest_too(capsys):
    assert main(["sandbox", "opne"]) == 2
    assert "did you mean 'open'?" in capsys.readouterr().err
    assert main(["run", "--fore"]) == 2
    assert "--force" in capsys.readouterr().err


def test_a_command_that_is_like_nothing_points_to_the_help(capsys):
    assert main(["xyzzy"]) == 2
    assert "anabranch --help" in capsys.readouterr().err


def test_without_a_command_the_overview_is_shown_as_a_mistake(capsys):
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "promote" in err


def test_the_shared_options_are_taken_before_the_verb_and_after_it(built, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    elsewhere = ["-C", str(built.path)]
    for words in (
        [*elsewhere, "--json", "--no-color", "-v", "log"],
        ["log", *elsewhere, "--json", "--no-color", "-v"],
        [*elsewhere, "log", "--json"],
    ):
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out)["ref"] == "production"


def test_a_folder_without_a_project_names_the_way_out(tmp_path, capsys):
    assert main(["-C", str(tmp_path), "status"]) == 2
    err = capsys.readouterr().err
    assert "there is no anabranch.toml" in err
    assert "anabranch init" in err


def test_a_reader_that_goes_away_is_no_error(built):
    read, write = os.pipe()
    os.close(read)
    try:
        process = built.process("log", stdout=write, stderr=subprocess.PIPE)
        _, err = process.communicate(timeout=60)
    finally:
        os.close(write)
    assert process.returncode == 0
    assert err == ""


def test_the_module_is_the_command_too():
    done = subprocess.run(
        [sys.executable, "-m", "anabranch", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("anabranch ")


def test_the_verbs_live_where_the_overview_says():
    for name in app_module.COMMANDS:
        command = app_module.app.get_command(None, name)
        assert command is not None
        assert command.name == name
