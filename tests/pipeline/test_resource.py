"""Resources: what they need of the environment, and that no secret shows where nobody asked for it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import traceback
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from anabranch.errors import DefinitionsError, SecretError
from anabranch.pipeline.outside import EnvVar
from anabranch.pipeline.resource import Config, Resource

SECRET = "s3cr3t-hunter2"
ENV = {"PASSWORD": SECRET, "PORT": "5432", "TOKEN": "t0k3n-secret"}


class Database(Resource):
    host: str = "localhost"
    port: int = 5432
    password: str = ""


class Vault(Resource):
    inner: Database
    tokens: list[str] = Field(default_factory=list)
    named: dict[str, str] = Field(default_factory=dict)


def vault() -> Vault:
    return Vault(
        inner=Database(password=EnvVar("PASSWORD")),
        tokens=[EnvVar("TOKEN"), "plain"],
        named={"a": EnvVar("TOKEN")},
    )


# variables


def test_a_variable_is_a_name_until_it_is_resolved():
    made = Database(password=EnvVar("PASSWORD"), port=EnvVar("PORT", kind=int))
    assert made.password == EnvVar("PASSWORD")
    assert {v.name for v in made.variables()} == {"PASSWORD", "PORT"}
    done = made.resolved(ENV)
    assert (done.password, done.port) == (SECRET, 5432)
    assert made.password == EnvVar("PASSWORD")


def test_variables_are_found_in_nested_resources_lists_and_mappings():
    assert sorted(v.name for v in vault().variables()) == ["PASSWORD", "TOKEN", "TOKEN"]
    done = vault().resolved(ENV)
    assert done.inner.password == SECRET
    assert done.tokens == ["t0k3n-secret", "plain"]
    assert done.named == {"a": "t0k3n-secret"}


def test_values_come_from_the_process_where_no_others_are_given(monkeypatch):
    monkeypatch.setenv("PASSWORD", SECRET)
    assert Database(password=EnvVar("PASSWORD")).resolved().password == SECRET


def test_a_missing_variable_is_an_error_that_says_how_to_set_it():
    with pytest.raises(SecretError, match="the environment variable PASSWORD is not set") as caught:
        vault().resolved({"TOKEN": "x"})
    assert caught.value.facts == {"variable": "PASSWORD"}
    assert "export PASSWORD=" in caught.value.hint


def test_a_default_stands_in_for_a_missing_variable():
    assert Database(host=EnvVar("HOST", "db")).resolved({}).host == "db"
    assert Database(host=EnvVar("HOST", "db")).resolved({"HOST": "other"}).host == "other"


def test_a_value_of_the_wrong_kind_is_an_error_without_the_value():
    with pytest.raises(SecretError, match="PORT does not hold a value of type int") as caught:
        Database(port=EnvVar("PORT", kind=int)).resolved({"PORT": SECRET})
    assert SECRET not in str(caught.value.to_dict())


def test_a_resource_without_variables_resolves_to_a_copy():
    made = Database(host="db")
    done = made.resolved({})
    assert done == made
    assert done is not made


# mistakes in a declaration


def test_a_wrong_field_beside_a_variable_is_told_at_once():
    with pytest.raises(ValidationError, match="port"):
        Database(password=EnvVar("PASSWORD"), port="many")
    with pytest.raises(ValidationError, match="hots"):
        Database(password=EnvVar("PASSWORD"), hots="db")


def test_a_variable_for_a_field_that_does_not_exist_is_told_at_once():
    with pytest.raises(DefinitionsError, match="Database has no field 'pasword'"):
        Database(pasword=EnvVar("PASSWORD"))


def test_fields_beside_a_variable_have_their_defaults():
    made = Database(password=EnvVar("PASSWORD"))
    assert (made.host, made.port) == ("localhost", 5432)
    assert Vault(inner=Database(), named=EnvVar("TOKEN")).tokens == []


def test_a_resource_can_not_be_changed():
    for made in (Database(), Database(password=EnvVar("PASSWORD"))):
        with pytest.raises(ValidationError):
            made.host = "other"


class Picky(Resource):
    user: str = ""
    password: str = ""
    _connection: Any = PrivateAttr(default=None)
    _log: list[str] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _both(self) -> Picky:
        if self.user and not self.password:
            raise ValueError("a user needs a password")
        return self

    @field_validator("password")
    @classmethod
    def _strong(cls, value: str) -> str:
        if value.startswith("weak"):
            raise ValueError(f"{value} is weak")
        return value

    def model_post_init(self, context: Any) -> None:
        self._log.append(f"made for {self.user.upper()}")

    def setup(self) -> None:
        self._connection = f"connected as {self.user}"

    def teardown(self) -> None:
        self._connection = None


def test_what_validates_the_whole_waits_for_the_values():
    made = Picky(user="ann", password=EnvVar("PASSWORD"))
    assert made.resolved(ENV).password == SECRET
    with pytest.raises(DefinitionsError, match="Picky: Value error, a user needs a password"):
        Picky(user="ann", password=EnvVar("EMPTY")).resolved({"EMPTY": ""})


def test_a_users_private_state_is_there_from_the_beginning_and_after_resolving():
    made = Picky(user=EnvVar("USER_NAME"), password=EnvVar("PASSWORD"))
    assert made._connection is None
    assert made._log == []
    done = made.resolved({"USER_NAME": "ann", **ENV})
    assert done._log == ["made for ANN"]
    assert done._connection is None
    done.setup()
    assert done._connection == "connected as ann"
    done.teardown()
    assert done._connection is None
    assert made._connection is None


def test_setup_and_teardown_do_nothing_by_themselves():
    Database().setup()
    Database().teardown()


# what shows


def shown(resource: Resource, caplog: pytest.LogCaptureFixture) -> str:
    """Everything that looks at a resource without asking for a field."""
    logging.getLogger("test").warning("using %s and %r", resource, resource)
    try:
        raise RuntimeError(resource)
    except RuntimeError as error:
        told = "".join(traceback.format_exception(error))
    return "\n".join(
        [repr(resource), str(resource), f"{resource} {resource!r}", repr([resource]), caplog.text, told]
    )


@pytest.mark.parametrize("resolve", [False, True])
def test_no_secret_shows_in_a_text_of_a_resource(resolve, caplog):
    made = vault().resolved(ENV) if resolve else vault()
    text = shown(made, caplog)
    for value in ENV.values():
        assert value not in text.replace("port=5432", "")
    assert "localhost" in shown(Database(password=EnvVar("PASSWORD")).resolved(ENV), caplog)


def test_an_unresolved_resource_shows_the_names_of_its_variables():
    assert repr(Database(password=EnvVar("PASSWORD"))) == (
        "Database(host='localhost', port=5432, password=EnvVar('PASSWORD'))"
    )
    assert "password='***'" in repr(Database(password=EnvVar("PASSWORD")).resolved(ENV))


def test_a_copy_of_a_resolved_resource_hides_as_much():
    done = Database(password=EnvVar("PASSWORD")).resolved(ENV)
    assert SECRET not in repr(done.model_copy(update={"host": "other"}))
    assert SECRET not in repr(done.resolved({}))


def test_a_rich_console_shows_no_secret():
    from rich.console import Console

    console = Console(record=True, quiet=True, width=200)
    console.print(vault().resolved(ENV))
    assert SECRET not in console.export_text()


def test_whoever_dumps_a_resolved_resource_asks_for_its_values():
    done = Database(password=EnvVar("PASSWORD")).resolved(ENV)
    assert done.model_dump() == {"host": "localhost", "port": 5432, "password": SECRET}
    assert done.password == SECRET


def test_an_error_of_validation_shows_neither_value_nor_message_with_one():
    for environ in ({"PASSWORD": "weak-secret"}, {"PASSWORD": "weak-other"}):
        with pytest.raises(DefinitionsError) as caught:
            Picky(password=EnvVar("PASSWORD")).resolved(environ)
        assert environ["PASSWORD"] not in "".join(traceback.format_exception(caught.value))
        assert caught.value.message == "Picky.password: Value error, *** is weak"


def test_a_variable_shows_its_name_and_not_its_default():
    assert repr(EnvVar("PASSWORD", default=SECRET)) == "EnvVar('PASSWORD')"


# telling resources apart


def test_two_resources_are_one_if_they_reach_the_same_thing():
    one = Database(password=EnvVar("PASSWORD"))
    assert one.digest() == Database(password=EnvVar("PASSWORD")).digest()
    others = [Database(password=EnvVar("OTHER")), Database(password="x"), Database(host="db"), Picky()]
    assert len({each.digest() for each in (one, *others)}) == 5


def test_what_a_resource_is_depends_on_no_secret():
    made = vault()
    text = json.dumps(made.described())
    assert made.described()["inner"]["password"] == {"env": "PASSWORD"}
    assert "PASSWORD" in text
    assert SECRET not in text


class Odd(Resource):
    names: set[str] = Field(default_factory=set)
    root: Path = Path()
    thing: Any = None


def test_a_digest_is_the_same_in_every_process(tmp_path):
    program = """
        from pathlib import Path
        from typing import Any
        from anabranch.pipeline.resource import Resource

        class Thing:
            pass

        def helper():
            pass

        class Odd(Resource):
            names: set[str] = set()
            root: Path = Path()
            thing: Any = None
            call: Any = None

        made = Odd(names={str(n) for n in range(50)}, root=Path("a"), thing=Thing(), call=helper)
        print(made.digest(), made.model_copy(update={"call": Thing}).digest())
    """
    (tmp_path / "program.py").write_text(dedent(program))
    found = set()
    for seed in ("1", "2", "3"):
        done = subprocess.run(
            [sys.executable, str(tmp_path / "program.py")],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1
    one, other = found.pop().split()
    assert one != other


def test_a_set_is_described_in_one_order_and_other_values_by_their_text():
    made = Odd(names={"b", "a", "c"}, root=Path("x"))
    assert made.described() == {"names": ["a", "b", "c"], "root": repr(Path("x")), "thing": None}


def test_the_environment_independent_identity_is_none_unless_given():
    assert Database().identity() is None


# config


def test_a_config_is_validated_frozen_and_takes_no_unknown_field():
    class Carriers(Config):
        minimum: int = 100

    assert Carriers(minimum="5").minimum == 5
    with pytest.raises(ValidationError):
        Carriers(minimun=5)
    with pytest.raises(ValidationError):
        Carriers().minimum = 3
