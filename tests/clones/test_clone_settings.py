"""`[clones.NAME]`: what it may say, and every mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.errors import SettingsError
from anabranch.settings import PostgresClone, Settings, load_settings, settings_reference
from anabranch.settings.reference import clone_providers

HEAD = """\
[project]
name = "shop"
definitions = "shop.definitions:defs"

[environments.production]
git_branch = "main"

[clones.sales]
"""


def load(folder: Path, clone: str) -> Settings:
    (folder / "anabranch.toml").write_text(HEAD + clone, encoding="utf-8")
    return load_settings(folder)


def refusal(folder: Path, clone: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load(folder, clone)
    return caught.value


def test_a_clone_needs_a_provider_and_a_source_alone(tmp_path: Path) -> None:
    found = load(tmp_path, 'provider = "postgres"\nsource = "postgresql://db/shop"\n').clones["sales"]
    assert isinstance(found, PostgresClone)
    assert (found.name, found.when, found.refresh) == ("{source}_clone_{sandbox}", "open", "never")
    assert (found.level, found.connections) == ("database", "refuse")


def test_a_password_is_in_no_repr(tmp_path: Path) -> None:
    settings = load(tmp_path, 'provider = "postgres"\nsource = "postgresql://ann:hunter2@db/shop"\n')
    assert "hunter2" not in repr(settings.clones["sales"])
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("clone", "place", "message", "hint"),
    [
        ('source = "x"', "8 clones.sales", "provider is missing", "sqlite"),
        ('provider = "postgre"\nsource = "x"', "clones.sales", "there is no provider 'postgre'", "'postgres'"),
        ('provider = "sqlite"', "clones.sales.source", "source is missing", None),
        ('provider = "sqlite"\nsource = ""', "10 clones.sales.source", "must not be empty", None),
        ('provider = "sqlite"\nsource = "x"\nconnections = "refuse"', "11 clones.sales.connections", "connections is not a setting", None),
        ('provider = "sqlite"\nsource = "x"\nname = "{sandbx}"', "11 clones.sales.name", "{sandbx} is no field", "'sandbox'"),
        ('provider = "sqlite"\nsource = "x"\nname = "{sandbox!r}"', "11 clones.sales.name", "{sandbox!r} is no field", "write {sandbox} alone"),
        ('provider = "sqlite"\nsource = "x"\nname = "{sandbox.__class__}"', "11 clones.sales.name", "is no field", None),
        ('provider = "sqlite"\nsource = "x"\nname = "{sandbox"', "11 clones.sales.name", "brace", None),
        ('provider = "sqlite"\nsource = "x"\nname = "{source}_copy"', "11 clones.sales.name", "same clone for every sandbox", "{pull_request}"),
        ("provider = \"sqlite\"\nsource = \"x\"\nname = \"{sandbox}'; drop\"", "11 clones.sales.name", "can't name a database", None),
        ('provider = "postgres"\nsource = "x"\naddress = "postgresql://db/shop"', "11 clones.sales.address", "same for every clone", "{name}"),
        ('provider = "postgres"\nsource = "${A-B}"', "10 clones.sales.source", "names no environment variable", None),
    ],
)  # fmt: skip
def test_every_mistake_is_told_with_its_line(
    tmp_path: Path, clone: str, place: str, message: str, hint: str | None
) -> None:
    error = refusal(tmp_path, clone)
    assert place in (error.place or "")
    assert (error.place or "").startswith("anabranch.toml:")
    assert message in error.message
    if hint is not None:
        assert hint in (error.hint or "")


def test_a_clone_has_a_plain_name(tmp_path: Path) -> None:
    text = '\n[clones."a-b"]\nprovider = "sqlite"\nsource = "x"\n'
    error = refusal(tmp_path, 'provider = "sqlite"\nsource = "x"\n' + text)
    assert "can't be a clone's name" in error.message


def test_the_reference_tells_which_providers_have_a_setting() -> None:
    rows = {row.key: row for row in settings_reference()}
    assert all(f'"{name}"' in rows["clones.<name>.provider"].type for name in clone_providers())
    assert rows["clones.<name>.source"].default == "required"
    assert "`postgres`" in rows["clones.<name>.connections"].description
    assert len(rows) == len(settings_reference())
