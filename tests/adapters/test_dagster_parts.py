"""The pieces by which a Dagster project is read: variables, keys, resources, what is kept."""

import json
from pathlib import Path
from typing import Any

import pytest

from anabranch.adapters.dagster.child import looks_like_dagster, variables_in_text
from anabranch.adapters.dagster.kept import FORMAT, Kept, listing, sha256, variable
from anabranch.adapters.dagster.keys import name_of, names_of
from anabranch.adapters.dagster.variables import OURS, environ_for, variables
from anabranch.errors import DefinitionsError, DuplicateNameError, SettingsError
from anabranch.pipeline.translators import Commit, Surroundings
from anabranch.settings import load_settings

COMMIT = Commit("a" * 40, "feature", "shop", "Ada Lovelace", "ada@example.com", "Count anew", 1_700_000_000)


# variables


def test_a_sandbox_is_told_what_dagster_plus_tells_a_branch_deployment():
    there = Surroundings("sandbox", "sandbox", "feature-1x", "production", COMMIT, "42", "open")
    assert variables(there) == {
        "DAGSTER_CLOUD_DEPLOYMENT_NAME": "feature-1x",
        "DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT": "1",
        "DAGSTER_CLOUD_PULL_REQUEST_ID": "42",
        "DAGSTER_CLOUD_PULL_REQUEST_STATUS": "open",
        "DAGSTER_CLOUD_GIT_SHA": "a" * 40,
        "DAGSTER_CLOUD_GIT_BRANCH": "feature",
        "DAGSTER_CLOUD_GIT_REPO": "shop",
        "DAGSTER_CLOUD_GIT_AUTHOR_NAME": "Ada Lovelace",
        "DAGSTER_CLOUD_GIT_AUTHOR_EMAIL": "ada@example.com",
        "DAGSTER_CLOUD_GIT_MESSAGE": "Count anew",
        "DAGSTER_CLOUD_GIT_TIMESTAMP": "1700000000",
        "DAGSTER_DEPLOYMENT": "sandbox",
    }
    assert set(variables(there)) == OURS


@pytest.mark.parametrize("option", [None, "prod"])
def test_an_environment_is_told_its_name_and_nothing_of_branches(option: str | None):
    there = Surroundings(
        "production", "environment", "production", "production", COMMIT, "42", options={"deployment": option}
    )
    name = option or "production"
    assert variables(there) == {"DAGSTER_CLOUD_DEPLOYMENT_NAME": name, "DAGSTER_DEPLOYMENT": name}


def test_what_is_not_known_is_not_set_and_nothing_is_passed_on():
    there = Surroundings("sandbox", "sandbox", "feature", "production", hidden=("MASK_KEY",))
    parent = {
        "PATH": "/bin",
        "MASK_KEY": "secret",
        "DAGSTER_CLOUD_PULL_REQUEST_ID": "7",
        "DAGSTER_DEPLOYMENT": "production",
    }
    assert environ_for(there, parent) == {
        "PATH": "/bin",
        "DAGSTER_CLOUD_DEPLOYMENT_NAME": "feature",
        "DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT": "1",
        "DAGSTER_DEPLOYMENT": "sandbox",
    }


# keys


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (["items"], "items"),
        (["HACKER_NEWS", "items"], "HACKER_NEWS.items"),
        (["raw", "shop", "orders"], "raw_shop.orders"),
        (["my-orders"], "my_orders"),
        (["2024", "orders"], "_2024.orders"),
        (["main", "orders"], "orders"),
    ],
)
def test_an_asset_key_becomes_a_tables_name(path: list[str], name: str):
    assert name_of(path) == name


def test_two_keys_that_would_be_one_table_are_named():
    with pytest.raises(DuplicateNameError, match="raw/shop/orders and raw_shop/orders would both be"):
        names_of([["raw", "shop", "orders"], ["raw_shop", "orders"]])


# reading the project's text


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_project_is_told_by_the_imports_of_its_modules(tmp_path: Path):
    write(
        tmp_path,
        shop____init__="",
        shop__plain="import pandas\n",
        shop__defs="from dagster import Definitions\n",
        shop__again="from .defs import defs\n",
        shop__third="from shop import again\n",
        shop__looped="from .looped import it\n",
    )
    (tmp_path / "shop" / "__init__.py").touch()
    seen = {
        n: looks_like_dagster(f"shop.{n}:defs", [tmp_path])
        for n in ("plain", "defs", "again", "third", "looped")
    }
    assert seen == {"plain": False, "defs": True, "again": True, "third": True, "looped": False}


def test_secrets_are_found_in_both_forms(tmp_path: Path):
    write(tmp_path, a='x = EnvVar("ONE"); y = {"env": "TWO"}; z = EnvVar.int("THREE")', b='os.getenv("FOUR")')
    assert variables_in_text(tmp_path) == {"ONE", "TWO", "THREE"}


# what is kept


def test_an_answer_is_kept_until_what_it_depends_on_changes(tmp_path: Path):
    import sys
    from importlib.metadata import version

    root, folder = tmp_path / "project", tmp_path / "cache"
    write(root, shop="1")
    (root / "data").mkdir()
    kept = Kept(folder, {"target": "shop"})
    environ = {"MODE": "fast"}

    def keep() -> None:
        kept.keep(
            {
                "format": FORMAT,
                "salt": "s" * 64,
                "depends": {
                    "dagster": version("dagster"),
                    "python": sys.version,
                    "files": {"shop.py": sha256(root / "shop.py")},
                    "folders": {"data": listing(root / "data")},
                    "variables": {
                        "MODE": variable("MODE", "s" * 64, environ),
                        "NOT_SET": variable("NOT_SET", "s" * 64, environ),
                    },
                    "distributions": {},
                },
                "described": "it",
            }
        )

    def found(with_: dict[str, str] = environ) -> Any:
        return kept.find(root, with_)

    assert found() is None
    keep()
    assert found()["described"] == "it"
    assert found({**environ, "OTHER": "1"}) is not None
    assert found({"MODE": "slow"}) is None
    assert found({**environ, "NOT_SET": ""}) is None
    assert Kept(folder, {"target": "other"}).find(root, environ) is None
    (root / "data" / "new.csv").write_text("1")
    assert found() is None
    keep()
    write(root, shop="2")
    assert found() is None
    assert kept.path is not None
    assert kept.path.stat().st_mode & 0o077 == 0
    assert "fast" not in kept.path.read_text()
    kept.path.write_text("{ broken")
    assert found() is None


# resources


@pytest.mark.filterwarnings(
    "ignore:The `__fields__` attribute:DeprecationWarning"
)  # Dagster's own, for nested resources
def test_what_may_be_used_in_a_sandbox():
    dg = pytest.importorskip("dagster")
    from anabranch.adapters.dagster.resources import admitted, facts

    class Limits(dg.ConfigurableResource):
        most: int = 3

    class Api(dg.ConfigurableResource):
        token: str

        def send(self) -> None: ...

    class Nested(dg.ConfigurableResource):
        api: Api

    class Store(dg.ConfigurableIOManager):
        def handle_output(self, context: Any, obj: Any) -> None: ...
        def load_input(self, context: Any) -> Any: ...

    class Files(dg.FilesystemIOManager):
        def handle_output(self, context: Any, obj: Any) -> None: ...

    @dg.resource
    def legacy(_: Any) -> int:
        return 1

    given = {
        "limits": Limits(),
        "api": Api(token=dg.EnvVar("TOKEN")),
        "nested": Nested(api=Api(token="t")),
        "number": 3,
        "names": {"a": [1, None]},
        "client": object(),
        "legacy": legacy,
        "store": Store(),
        "files": Files(),
        "plain_files": dg.FilesystemIOManager(),
        "old_files": dg.fs_io_manager,
        "memory": dg.mem_io_manager,
    }

    @dg.asset(required_resource_keys=set(given))
    def uses() -> None: ...

    top = dg.Definitions(assets=[uses], resources=given).get_repository_def().get_top_level_resources()
    found = {name: facts(name, one) for name, one in top.items()}
    assert {name: one.how for name, one in found.items()} == {
        "limits": "plain",
        "api": "unknown",
        "nested": "unknown",
        "number": "plain",
        "names": "plain",
        "client": "unknown",
        "legacy": "unknown",
        "store": "unknown",
        "files": "unknown",
        "plain_files": "branch",
        "old_files": "branch",
        "memory": "branch",
    }
    assert found["api"].variables == ("TOKEN",)
    assert not admitted(found["api"], {})
    assert not admitted(found["api"], {"store": "allow"})
    assert admitted(found["api"], {"api": "allow"})
    assert admitted(found["limits"], {})
    json.dumps([one.to_dict() for one in found.values()])


def test_a_resource_of_another_environment_has_another_digest():
    dg = pytest.importorskip("dagster")
    from anabranch.adapters.dagster.resources import facts

    class Api(dg.ConfigurableResource):
        url: str
        token: str

    def digest(url: str, name: str) -> str:
        made = Api(url=url, token=dg.EnvVar(name))
        return facts("api", made.get_resource_definition()).digest

    assert digest("a", "X") == digest("a", "X")
    assert len({digest("a", "X"), digest("b", "X"), digest("a", "Y")}) == 3


def test_the_guides_form_of_a_variable_is_understood():
    dg = pytest.importorskip("dagster")
    from anabranch.adapters.dagster.loading import understand_env_dicts

    class Database(dg.ConfigurableResource):
        password: str
        options: dict

    understand_env_dicts()
    understand_env_dicts()
    made = Database(password={"env": "DB_PASSWORD"}, options={"env": "kept"})
    assert made.password == dg.EnvVar("DB_PASSWORD")
    assert made.options == {"env": "kept"}


# anabranch.toml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[sandboxes.resources]\napi = "alow"', "says nothing"),
        ("[sandboxes]\nresources = 3", "must be the name of a set of resources, or a table"),
        ('[dagster]\ndeliver = ["prodution"]', "there is no environment"),
        ('[dagster]\ndeliver = "production"', "must be a list of environments"),
        ('[sandboxes.on_open]\njob = "clone_prod"', "is not a setting"),
    ],
)
def test_mistakes_in_the_settings_are_named(tmp_path: Path, text: str, message: str):
    path = tmp_path / "anabranch.toml"
    path.write_text(
        f'[project]\nname = "shop"\ndefinitions = "shop"\n\n[environments.production]\n\n{text}\n'
    )
    with pytest.raises(SettingsError, match=message):
        load_settings(path)


def test_partitions_without_a_like_here_are_refused_with_a_sentence():
    dg = pytest.importorskip("dagster")
    from anabranch.adapters.dagster.keys import partitions_plain

    with pytest.raises(DefinitionsError, match=r"0 3 \* \* \*"):
        partitions_plain(dg.DailyPartitionsDefinition("2024-01-01", hour_offset=3), "orders")
    with pytest.raises(DefinitionsError, match="DynamicPartitionsDefinition"):
        partitions_plain(dg.DynamicPartitionsDefinition(name="files"), "orders")
