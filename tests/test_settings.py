"""anabranch.toml: what it may say, what holds where it is silent, and every mistake with its line."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import SecretError, SettingsError
from anabranch.settings import RowLimit, Settings, find_settings, load_settings, settings_reference
from anabranch.settings.lines import dotted, key_lines, line_of
from anabranch.settings.models import hide_password

MINIMAL = """\
[project]
name = "flights"
definitions = "flights.definitions:defs"

[environments.production]
git_branch = "main"
"""


def load(folder: Path, text: str = MINIMAL) -> Settings:
    file = folder / "anabranch.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file)


def refusal(folder: Path, text: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load(folder, text)
    json.dumps(caught.value.to_dict())
    return caught.value


# what it says


def test_what_the_file_does_not_say_has_safe_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    production = settings.environments["production"]
    assert production.protected
    assert production.resources is None
    assert settings.resources_of("production") == "production"
    assert settings.resources_of(None) == "sandbox"
    rules = production.promote
    assert (rules.checks, rules.schema, rules.approvals, rules.stale_inputs) == (
        "pass",
        "compatible",
        0,
        "rerun",
    )
    assert rules.rows_removed == RowLimit(share=Decimal("0.1"))
    assert settings.sandboxes.base == "production"
    assert settings.sandboxes.expire_after == timedelta(days=14)
    assert settings.history.keep == timedelta(days=30)
    assert settings.history.keep_commits == 10
    assert settings.gc.grace == timedelta(days=1)
    assert (settings.run.workers, settings.run.timeout, settings.run.retries, settings.run.in_process) == (None, None, 0, False)  # fmt: skip


def test_everything_can_be_said(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        project = { name = "my flights", definitions = "a.b:c.d", source = ["lib", "."] }
        sandboxes = { base = "staging", expire_after = "never", resources = "dev" }
        [warehouse]
        uri = "s3://bucket/x"
        catalog = "postgresql://u@h/db"
        properties = { "s3.endpoint" = "http://localhost", "s3.secret-access-key" = "${KEY}" }
        [environments.production]
        git_branch = "release/main"
        protected = false
        promote = { checks = "warn", schema = "any", rows_removed = 5, approvals = 2, stale_inputs = "refuse" }
        [environments.staging]
        resources = "test"
        promote.rows_removed = "any"
        [run]
        workers = 3
        timeout = "1h30m"
        retries = 2
        in_process = true
        [history]
        keep = "never"
        keep_commits = 1
        [gc]
        grace = "0s"
        """,
    )
    production, staging = settings.environments.values()
    assert not production.protected
    assert not staging.protected
    assert production.promote.schema == "any"
    assert production.promote.rows_removed == RowLimit(count=5)
    assert staging.promote.rows_removed == RowLimit()
    assert settings.resources_of("staging") == "test"
    assert settings.sandboxes.expire_after is None
    assert settings.history.keep is None
    assert settings.run.timeout == timedelta(minutes=90)
    assert settings.gc.grace == timedelta()
    assert settings.environment_of_git_branch("release/main") == "production"
    assert settings.environment_of_git_branch("main") is None
    assert settings.environment_of_git_branch("staging") is None


def test_settings_do_not_change(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path).project.name = "other"


def test_a_file_with_windows_line_ends_and_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "anabranch.toml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert (
        load_settings(tmp_path).place("environments", "production")
        == "anabranch.toml:5 environments.production"
    )


def test_an_unknown_environment_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no environment 'prodution'") as caught:
        load(tmp_path).resources_of("prodution")
    assert caught.value.hint == "did you mean 'production'?"


# finding


def test_the_file_is_found_upwards_from_a_folder_or_a_file(tmp_path: Path) -> None:
    load(tmp_path)
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "file.py").touch()
    (tmp_path / "a" / "anabranch.toml").mkdir()  # a folder of that name is not the file
    for start in (tmp_path, deep, deep / "file.py", tmp_path / "anabranch.toml"):
        assert find_settings(start) == tmp_path.resolve() / "anabranch.toml"


def test_a_missing_file_names_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"no anabranch.toml in {tmp_path.resolve()} ") as caught:
        find_settings(tmp_path)
    assert caught.value.facts["looked"] == [
        str(path) for path in (tmp_path.resolve(), *tmp_path.resolve().parents)
    ]
    assert "anabranch init" in (caught.value.hint or "")
    with pytest.raises(SettingsError, match="there is no file"):
        load_settings(tmp_path / "other.toml")
    with pytest.raises(SettingsError, match="there is no file"):
        load_settings(tmp_path)


# places


def test_relative_places_start_from_the_data_root_and_others_stay(tmp_path: Path) -> None:
    settings = load(tmp_path)
    root = tmp_path / "main"
    assert settings.warehouse_uri(root) == str(root / ".anabranch/warehouse")
    assert settings.catalog_url(root) == f"sqlite:///{root}/.anabranch/catalog.db"
    for uri, catalog in (
        ("s3://b/c", "postgresql://u@h/d"),
        ("file:///srv/w", "sqlite:////srv/c.db"),
        ("gs://b", "memory://"),
    ):
        settings = load(tmp_path, MINIMAL + f'[warehouse]\nuri = "{uri}"\ncatalog = "{catalog}"\n')
        assert settings.warehouse_uri(root) == uri
        assert settings.catalog_url(root) == catalog
    settings = load(tmp_path, MINIMAL + '[warehouse]\nuri = "/srv/w/"\ncatalog = "sqlite:///../c.db"\n')
    assert settings.warehouse_uri(root) == "/srv/w"
    assert settings.catalog_url(root) == f"sqlite:///{tmp_path}/c.db"


def test_the_code_is_imported_from_src_and_the_projects_folder(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.source_folders() == [tmp_path]
    (tmp_path / "src").mkdir()
    assert settings.source_folders() == [tmp_path / "src", tmp_path]
    settings = load(tmp_path, MINIMAL.replace("[env", 'source = ["../lib", "x/."]\n[env'))
    assert settings.source_folders() == [tmp_path.parent / "lib", tmp_path / "x"]


def test_settings_that_came_from_no_file_have_no_folder() -> None:
    settings = Settings.model_validate(tomllib.loads(MINIMAL))
    assert settings.path is None
    assert settings.place("project", "name") == "project.name"
    with pytest.raises(SettingsError, match="not read from a file"):
        settings.source_folders()


# secrets


SECRET = (
    MINIMAL
    + """
[warehouse]
uri = "s3://${BUCKET}/x"
catalog = "postgresql://app:${PASSWORD}@h/db"
[warehouse.properties]
"s3.key" = "a${KEY}b"
plain = "hunter2"
literal = "$${KEY}"
"""
)


def test_variables_are_read_when_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(tmp_path, SECRET)
    values = {"BUCKET": "b", "PASSWORD": "p", "KEY": "k"}
    assert settings.warehouse_uri(tmp_path, values) == "s3://b/x"
    assert settings.catalog_url(tmp_path, values) == "postgresql://app:p@h/db"
    assert settings.warehouse_properties(values) == {"s3.key": "akb", "plain": "hunter2", "literal": "${KEY}"}
    monkeypatch.setenv("BUCKET", "from-the-process")
    assert settings.warehouse_uri(tmp_path) == "s3://from-the-process/x"


def test_a_variable_that_is_not_set_is_named_with_its_place(tmp_path: Path) -> None:
    settings = load(tmp_path, SECRET)
    for ask, place in (
        (settings.warehouse_properties, 'anabranch.toml:12 warehouse.properties."s3.key"'),
        (lambda environ: settings.catalog_url(tmp_path, environ), "anabranch.toml:10 warehouse.catalog"),
    ):
        with pytest.raises(SecretError) as caught:
            ask({})
        assert caught.value.place == place
        assert "export" in (caught.value.hint or "")
    with pytest.raises(SettingsError, match="no catalog"):
        load(tmp_path, MINIMAL + '[warehouse]\ncatalog = "${URL}"\n').catalog_url(
            tmp_path, {"URL": "mysql://u:pw@h"}
        )


def test_nothing_secret_is_printed(tmp_path: Path) -> None:
    settings = load(tmp_path, SECRET.replace("${PASSWORD}", "sesame"))
    for text in (repr(settings), str(settings), repr(settings.warehouse), settings.model_dump_json(include={"warehouse": {"properties"}})):  # fmt: skip
        assert "hunter2" not in text
        assert "sesame" not in text
        assert "a${KEY}b" not in text
    assert "app:…@h/db" in repr(settings)
    error = refusal(
        tmp_path, MINIMAL + '[warehouse]\ncatalog = "mysql://u:sesame@h"\nproperties = { a = 4711 }\n'
    )
    assert "sesame" not in json.dumps(error.to_dict())
    assert "4711" not in json.dumps(error.to_dict())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@h/db", "postgresql://u:…@h/db"),
        ("postgresql://u:p@ss:w@h/db", "postgresql://u:…@h/db"),
        ("postgresql://h/db?user=u&password=p&x=1", "postgresql://h/db?user=u&password=…&x=1"),
        ("postgresql://u@h:5432/db", "postgresql://u@h:5432/db"),
        ("sqlite:////a/b", "sqlite:////a/b"),
    ],
)
def test_a_password_in_a_url_is_hidden(url: str, shown: str) -> None:
    assert hide_password(url) == shown


# row limits


def test_a_limit_of_rows_is_a_share_a_number_or_any() -> None:
    tenth, five, anything = RowLimit(share=Decimal("0.1")), RowLimit(count=5), RowLimit()
    assert tenth.allows(10, 100)
    assert not tenth.allows(11, 100)
    assert tenth.allows(0, 0)
    assert not tenth.allows(1, 3)
    assert five.allows(5, 5)
    assert not five.allows(6, 10**9)
    assert anything.allows(10**9, 10**9)
    assert [str(limit) for limit in (tenth, five, anything, RowLimit(share=Decimal("0.0005")), RowLimit(share=Decimal(1)))] == [
        "10%", "5", "any", "0.05%", "100%"
    ]  # fmt: skip


# mistakes


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ('git_brnch = "main"', "environments.production.git_brnch", "git_brnch is not a setting", "did you mean 'git_branch'?"),
        ("zzz = 1", "environments.production.zzz", "zzz is not a setting", "there are: git_branch, protected"),
        ('expire_after = "1d"', "environments.production.expire_after", "not a setting", "it belongs in [sandboxes]"),
        ('checks = "warn"', "environments.production.checks", "not a setting", "it belongs in [environments.<name>.promote]"),
        ("[environment.staging]", "environment", "not a setting", "did you mean 'environments'?"),
        ("[environments.staging.promot]", "environments.staging.promot", "not a setting", "did you mean 'promote'?"),
        ("protected = 1", "environments.production.protected", "must be true or false, not a whole number", None),
        ('protected = "yes"', "environments.production.protected", "must be true or false, not text", "without quotes"),
        ("resources = 5", "environments.production.resources", "must be text, not a whole number", "in quotes"),
        ("resources = 2026-01-01", "environments.production.resources", "must be text, not a date or time", None),
        ('resources = ""', "environments.production.resources", "must not be empty", None),
        ("promote = 5", "environments.production.promote", "must be a table, not a whole number", None),
        ('promote = { checks = "maybe" }', "environments.production.promote.checks", "'maybe' is none of the choices", "'pass', 'warn' or 'ignore'"),
        ('promote.schema = "some"', "environments.production.promote.schema", "'some' is none", "'compatible'"),
        ("promote.approvals = -1", "environments.production.promote.approvals", "must be at least 0, not -1", None),
        ("promote.approvals = true", "environments.production.promote.approvals", "must be a whole number, not true or false", None),
        ("promote.approvals = 101", "environments.production.promote.approvals", "must be at most 100", None),
        ('promote.rows_removed = "110%"', "environments.production.promote.rows_removed", "'110%' is no limit", '"10%"'),
        ("promote.rows_removed = -3", "environments.production.promote.rows_removed", "-3 is no limit", '"any"'),
        ("promote.rows_removed = 0.5", "environments.production.promote.rows_removed", "0.5 is no limit", '"any"'),
        ("promote.rows_removed = true", "environments.production.promote.rows_removed", "true is no limit", '"any"'),
        ("promote.rows_removed = []", "environments.production.promote.rows_removed", "a list is no limit", '"any"'),
        ('[environments.staging]\ngit_branch = "a b"', "environments.staging.git_branch", "can't be a git branch", "alone"),
        ('[environments.staging]\ngit_branch = "main"', "environments.staging.git_branch", "'main' belongs to 'production' already", "its own branch"),
        ('[environments."Stage 1"]', 'environments."Stage 1"', "'Stage 1' can't be an environment's name", "lower-case"),
        ('[sandboxes]\nbase = "prodution"', "sandboxes.base", "no environment 'prodution'", "did you mean 'production'?"),
        ('[sandboxes]\nbase = "xyz"', "sandboxes.base", "no environment 'xyz'", "one of: production"),
        ('[sandboxes]\nexpire_after = "soon"', "sandboxes.expire_after", "'soon' is not a duration", "1h30m"),
        ("[sandboxes]\nexpire_after = 14", "sandboxes.expire_after", "14 is not a duration", '"14d"'),
        ('[run]\ntimeout = "0s"', "run.timeout", "no time at all", None),
        ("[run]\nworkers = 0", "run.workers", "at least 1, not 0", None),
        ("[history]\nkeep_commits = 0", "history.keep_commits", "at least 1", None),
        ('[gc]\ngrace = "never"', "gc.grace", "'never' is not a duration", None),
        ('[warehouse]\nuri = "~/data"', "warehouse.uri", "home folder", "${HOME}"),
        ('[warehouse]\nuri = ""', "warehouse.uri", "must not be empty", None),
        ('[warehouse]\nuri = "s3://${}/x"', "warehouse.uri", "names no environment variable", None),
        ('[warehouse]\nuri = "s3://${A/x"', "warehouse.uri", "not closed", None),
        ('[warehouse]\ncatalog = "sqlite:///~/c.db"', "warehouse.catalog", "home folder", None),
        ('[warehouse]\ncatalog = "sqlite:///"', "warehouse.catalog", "names no file", "catalog.db"),
        ('[warehouse]\ncatalog = "catalog.db"', "warehouse.catalog", "'catalog.db' is no catalog", "write it like sqlite:///"),
        ('[warehouse.properties]\n"s3.key" = 5', 'warehouse.properties."s3.key"', "must be text", "in quotes"),
        ('[warehouse.properties]\nb = "${1}"', "warehouse.properties", "'${1}' names no environment", None),
    ],
)  # fmt: skip
def test_each_mistake_has_a_place_a_sentence_and_advice(
    tmp_path: Path, text: str, place: str, message: str, hint: str | None
) -> None:
    error = refusal(tmp_path, MINIMAL + text + "\n")
    last = len((MINIMAL + text).splitlines())
    line = last - 1 if place == "warehouse.properties" else last
    assert error.place == f"anabranch.toml:{line} {place}"
    assert message in error.message
    if hint is not None:
        assert hint in (error.hint or "")
    assert [one["place"] for one in error.facts["mistakes"]] == [error.place]


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ('name = "flights"\n', "", "anabranch.toml:1 project.name", "name is missing"),
        ('name = "flights"', 'name = "/"', "anabranch.toml:2 project.name", "can't be a project's name"),
        (":defs", ":", "anabranch.toml:3 project.definitions", "where the definitions are"),
        (":defs", ":d-f", "anabranch.toml:3 project.definitions", "where the definitions are"),
        ("\n[env", 'source = "src"\n[env', "anabranch.toml:4 project.source", "must be a list of folders"),
        ("\n[env", 'source = [\n"src",\n5]\n[env', "anabranch.toml:6 project.source[1]", "must be text"),
        ("\n[env", "source = 5\n[env", "anabranch.toml:4 project.source", "must be a list, not a whole number"),
        ("[project]", "[proyect]", "anabranch.toml:1 project", "project is missing"),
        ('[environments.production]\ngit_branch = "main"\n', "", "anabranch.toml:1 environments", "environments is missing"),
        ('[environments.production]\ngit_branch = "main"\n', "[environments]\n", "anabranch.toml:5 environments", "there is no environment"),
        ('[environments.production]\ngit_branch = "main"\n', "[environments.live]\n", "anabranch.toml:1 sandboxes.base", "no environment 'production'"),
        ("[environments.production]", "[[environments]]", "anabranch.toml:5 environments", "must be a table, not a list"),
        ("[environments.production]\ngit_branch", "[environments]\nproduction", "anabranch.toml:6 environments.production", "must be a table, not text"),
    ],
)  # fmt: skip
def test_what_is_missing_or_misplaced_is_named(
    tmp_path: Path, old: str, new: str, place: str, message: str
) -> None:
    assert old in MINIMAL
    error = refusal(tmp_path, MINIMAL.replace(old, new))
    assert (error.place, message in error.message) == (place, True), error


def test_several_mistakes_are_told_at_once_the_first_one_first(tmp_path: Path) -> None:
    text = MINIMAL.replace('name = "flights"', "name = 5") + 'protectd = true\n[gc]\ngrace = "x"\n'
    error = refusal(tmp_path, text)
    assert str(error) == "anabranch.toml:2 project.name: must be text, not a whole number"
    assert [one["place"] for one in error.facts["mistakes"]] == [
        "anabranch.toml:2 project.name",
        "anabranch.toml:7 environments.production.protectd",
        "anabranch.toml:9 gc.grace",
    ]
    assert error.facts["mistakes"][1]["hint"] == "did you mean 'protected'?"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[project]\nname = flights\n", 2),
        ("[project]\nname = 'a'\nname = 'b'\n", 3),
        ("[project]\n\n[project]\n", 3),
        ('a = """\nnever closed\n', 2),
        ("a = [1,\n2\n", 2),
        ("a = " + "[" * 5000, 1),
        ("= 1", 1),
    ],
)
def test_what_is_not_toml_is_told_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    error = refusal(tmp_path, text)
    assert (error.place or "").startswith("anabranch.toml")
    if "nested" not in error.message:
        assert error.place == f"anabranch.toml:{line}"
        assert error.message.startswith("this is not TOML: ")


def test_a_file_in_another_encoding_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "anabranch.toml").write_bytes(MINIMAL.encode() + b"# Gr\xf6\xdfe")
    with pytest.raises(SettingsError, match="not written in UTF-8") as caught:
        load_settings(tmp_path)
    assert caught.value.place == "anabranch.toml:7"


# lines


LINES = '''\
# a comment with = and [brackets]
title = "# no comment"
a.b . "c.d" = 1

[table]   # [not.a.table]
text = """
[inside]
key = 1 \\""" ""
""""" # five quotes
raw = \'\'\'
it's = 'raw' ''
\'\'\'
list = [ # comment ]
  "one", # two,
  [1, 2],
  { x = 1, y.z = "}" },
]
inline = { p = "a, b", q = { r = [1,
2] } }
date = 2026-01-01 10:00:00
"quoted \\u0041" = 1
'' = 0

[deep.er."est est"]
x = 1
[deep]
y = 1
[[many]]
name = 1
[[many]]
name = 2
[many.sub]
k = 1
[[many.inner]]
k = 1
[[many.inner]]
k = 2
'''


def test_every_key_is_found_on_its_line() -> None:
    lines = key_lines(LINES)
    tomllib.loads(LINES)
    expected = {
        ("title",): 2, ("a",): 3, ("a", "b"): 3, ("a", "b", "c.d"): 3, ("table",): 5, ("table", "text"): 6, ("table", "raw"): 10,
        ("table", "list"): 13, ("table", "list", 0): 14, ("table", "list", 1): 15, ("table", "list", 1, 1): 15,
        ("table", "list", 2): 16, ("table", "list", 2, "y", "z"): 16, ("table", "inline", "q"): 18,
        ("table", "inline", "q", "r", 0): 18, ("table", "inline", "q", "r", 1): 19, ("table", "date"): 20,
        ("table", "quoted A"): 21, ("table", ""): 22, ("deep", "er"): 24, ("deep", "er", "est est"): 24,
        ("deep", "er", "est est", "x"): 25, ("deep",): 26, ("deep", "y"): 27, ("many",): 28, ("many", 0): 28, ("many", 0, "name"): 29,
        ("many", 1): 30, ("many", 1, "name"): 31, ("many", 1, "sub"): 32, ("many", 1, "sub", "k"): 33,
        ("many", 1, "inner", 0): 34, ("many", 1, "inner", 1): 36, ("many", 1, "inner", 1, "k"): 37,
    }  # fmt: skip
    assert {path: lines.get(path) for path in expected} == expected


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    found = {path} - {()}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found.union(*(paths_of(inner, (*path, key)) for key, inner in items))


def test_the_lines_name_exactly_what_the_parser_sees() -> None:
    assert set(key_lines(LINES)) == paths_of(tomllib.loads(LINES))


keys = st.text(alphabet="abc.# =]\"'\\é\t", max_size=4)
scalars = st.one_of(
    st.integers(), st.booleans(), st.text(alphabet="ab\"'#\\[]{},=\n ", max_size=8), st.dates()
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6)  # fmt: skip


def written(value: Any, multi: bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        if multi and "'''" not in value and not value.endswith("'"):
            return f"'''\n{value}'''"
        return json.dumps(value)
    if isinstance(value, list):
        return "[" + "".join(f"\n# ]\n {written(inner, multi)}," for inner in value) + "\n]"
    if isinstance(value, dict):
        return (
            "{ "
            + ", ".join(f"{json.dumps(key)} = {written(inner, multi)}" for key, inner in value.items())
            + " }"
        )
    return str(value)


@given(st.dictionaries(keys, st.dictionaries(keys, values, max_size=3), max_size=3), st.booleans())
def test_any_toml_is_followed_to_its_last_key(document: dict[str, Any], multi: bool) -> None:
    text = ""
    expected = {}
    for table, content in document.items():
        text += f"[ {json.dumps(table)} ] # {{\n"
        expected[(table,)] = text.count("\n")
        for key, value in content.items():
            expected[table, key] = text.count("\n") + 1
            text += f"{json.dumps(key)} = {written(value, multi)}\n"
    assert tomllib.loads(text) == document
    lines = key_lines(text)
    assert {path: lines[path] for path in expected} == expected
    assert set(lines) == paths_of(document)


def test_what_is_not_in_the_file_stands_where_its_surroundings_stand() -> None:
    lines = key_lines("[a]\nb = 1\n[c]\n")
    assert line_of(lines, ("a", "b", "x", 3)) == 2
    assert line_of(lines, ("c", "x")) == 3
    assert line_of(lines, ("x", "y")) == 1
    assert dotted(("a", "b c", 1, 'q"')) == 'a."b c"[1]."q\\""'


# reference


def test_the_reference_lists_every_setting_with_a_default_that_can_be_written(tmp_path: Path) -> None:
    rows = settings_reference()
    names = [row.key for row in rows]
    assert len(names) == len(set(names)) > 20
    for row in rows:
        assert row.description.endswith("."), row
        assert row.type, row
    text = ""
    for row in rows:
        default = {"required": '"a.b:c"', "unset": None}.get(row.default, row.default)
        if row.key == "project.name":
            default = '"flights"'
        # What a clone may say depends on its provider: tests/clones/test_clone_settings.py.
        if default is not None and not row.key.startswith("clones."):
            text += f"{row.key.replace('<name>', 'production')} = {default}\n"
    settings = load(tmp_path, text)
    plain = load(
        tmp_path, 'environments.production = {}\nproject = { name = "flights", definitions = "a.b:c" }'
    )
    assert settings.model_dump() == plain.model_dump()


def test_the_reference_names_what_each_setting_takes() -> None:
    types = {row.key: (row.type, row.default) for row in settings_reference()}
    assert types["project.name"] == ("text", "required")
    assert types["sandboxes.expire_after"] == ('duration or "never"', '"14d"')
    assert types["environments.<name>.promote.checks"] == ('"pass", "warn" or "ignore"', '"pass"')
    assert types["environments.<name>.promote.schema"] == ('"compatible", "same" or "any"', '"compatible"')
    assert types["warehouse.properties.<name>"] == ("text", "unset")
    assert types["project.source"] == ("list of texts", "unset")


def test_loading_settings_imports_nothing_heavier_than_pydantic() -> None:
    script = "import sys, anabranch.settings; print([m for m in ('pyarrow', 'duckdb', 'pandas', 'polars', 'sqlglot', 'pyiceberg', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
