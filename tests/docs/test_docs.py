"""The documentation is true: every example is played, everything public is on a page, every link leads somewhere."""

from __future__ import annotations

import inspect
import re
import sqlite3
import tomllib
from contextlib import closing

import click
import pytest

import anabranch as ab
from anabranch.catalog import open_catalog
from anabranch.cli.app import app
from anabranch.cli.reference import all_commands
from anabranch.cli.verb import Shared, Verb
from anabranch.errors import EXIT_CODES
from anabranch.settings import settings_reference
from docs import ROOT, WITH_WORKERS, generated, written
from docs_reference import error_classes
from docs_session import blocks_of, played

PLAYED = ("console", "diff", "python", "toml")
WORDS = (
    "asset", "resource", "I/O", "definitions", "environment", "sandbox", "catalog", "entry", "commit", "ref", "base",
    "version", "fingerprint", "plan", "run", "check", "diff", "gate", "promotion", "rollback", "clone",
)  # fmt: skip
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def every_page() -> list[str]:
    return sorted({*written(), *generated()})


def with_examples() -> list[str]:
    return [page for page in written() if any(b.language in PLAYED for b in blocks_of(text_of(page)))]


def outside_of_blocks(text: str) -> str:
    return re.sub(r"^( *)```.*?^\1```\s*$", "", text, flags=re.MULTILINE | re.DOTALL)


# examples


# Those that take longest go first, for the sake of those who run tests at the same time.
@pytest.mark.parametrize(
    "page", sorted(with_examples(), key=lambda p: (p != "README.md", p != "docs/tutorial.md"))
)
def test_every_example_of_a_page_works_and_prints_what_it_shows(page):
    text = text_of(page)
    assert played(text, page, workers=page in WITH_WORKERS) == text, (
        "python scripts/docs.py writes what is printed"
    )


def test_the_pages_that_are_to_show_how_it_works_have_examples():
    shown = {"README.md", "docs/tutorial.md", "docs/concepts.md"}
    assert shown | {p for p in written() if p.startswith("docs/guides/")} <= set(with_examples())


@pytest.mark.parametrize("page", sorted(set(generated()) - {"docs/reference/json.md"}))
def test_a_generated_page_is_that_of_the_code_at_hand(page):
    assert text_of(page) == generated()[page](), "python scripts/docs.py --pages"


def test_the_json_page_shows_real_documents():
    page = "docs/reference/json.md"
    assert text_of(page) == generated()[page](), "python scripts/docs.py --pages"


def test_every_toml_block_of_a_generated_page_is_understood():
    for page in generated():
        text = text_of(page)
        assert played(text, page) == text


@pytest.mark.parametrize("page", every_page())
def test_every_make_target_and_every_extra_that_a_page_names_exists(page):
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), flags=re.MULTILINE))
    extras = set(tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"])
    for block in blocks_of(text_of(page)):
        if block.language == "sh":
            assert set(re.findall(r"^make (?:\w+=\S+ )*([a-z]+)", block.text, flags=re.MULTILINE)) <= targets
            named = re.findall(r"pip install \"(?:anabranch|\.)\[([a-z0-9,]+)\]\"", block.text)
            assert {extra for group in named for extra in group.split(",")} <= extras


def test_the_readme_has_its_two_commands():
    assert re.search(r"^make demo .*\nmake test ", text_of("README.md"), flags=re.MULTILINE)


# completeness


@pytest.mark.parametrize("name", sorted(all_commands()))
def test_every_command_with_every_option_and_json_key_is_documented(name):
    section = text_of("docs/reference/cli.md").partition(f"### anabranch {name}\n")[2].partition("\n### ")[0]
    command = all_commands()[name]
    assert command.help in section or " ".join((command.help or "").split("\n\n")[0].split()) in section
    for param in command.params:
        if isinstance(param, click.Option) and not isinstance(param, Shared):
            assert all(f"`{opt}`" in section for opt in param.opts)
    if isinstance(command, Verb):
        shown = (
            text_of("docs/reference/json.md")
            .partition(f"## anabranch {name} --json\n")[2]
            .partition("\n## ")[0]
        )
        for key in command.shape:
            assert f"| `{key}` |" in section
            assert f"| `{key}` |" in shown


def test_the_options_of_every_command_are_documented():
    text = text_of("docs/reference/cli.md").partition("## Start")[0]
    for param in app.params:
        assert not isinstance(param, Shared) or all(f"`{opt}`" in text for opt in param.opts)
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in text


@pytest.mark.parametrize("name", ab.__all__)
def test_every_public_name_has_a_docstring_and_a_place_on_the_page(name):
    doc = inspect.getdoc(getattr(ab, name))
    assert doc
    assert f"### ab.{name}\n" in text_of("docs/reference/python.md")


@pytest.mark.parametrize(
    "name", ["asset", "sql", "check", "not_null", "references", "accepted_values", "Definitions"]
)
def test_every_parameter_of_a_declaration_is_explained(name):
    section = text_of("docs/reference/python.md").partition(f"### ab.{name}\n")[2].partition("\n### ")[0]
    arguments = section.partition("Arguments:")[2]
    for parameter in inspect.signature(getattr(ab, name)).parameters:
        assert f"`{parameter}`" in arguments


def test_every_verb_of_a_project_is_documented_and_has_the_commands_name():
    text = text_of("docs/reference/python.md")
    for name, value in vars(ab.Project).items():
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            assert f"#### project.{name}\n" in text
            assert value.__doc__
    faces = {"init", "completion", "version", "sandbox", "sandbox shell", "dagster", "dagster dev"}
    assert "#### project.deliver\n" in text, "`dagster deliver` is the project's own verb"
    faces |= {"dagster deliver"}
    for command in set(all_commands()) - faces:
        assert f"#### project.{command.replace(' ', '.')}\n" in text


def test_every_setting_is_documented():
    text = text_of("docs/reference/settings.md")
    for row in settings_reference():
        table, _, key = row.key.rpartition(".")
        section = text.partition(f"## [{table}]\n")[2].partition("\n## ")[0]
        assert f"| `{key}` |" in section


@pytest.mark.parametrize("name", [cls.__name__ for cls in error_classes()])
def test_every_error_is_on_its_page_and_troubleshooting_says_what_to_do(name):
    assert f"| `{name}` |" in text_of("docs/reference/errors.md")
    if name != "AnabranchError":
        section = re.split(rf"^##+ {name}\n", text_of("docs/guides/troubleshooting.md"), flags=re.MULTILINE)
        assert len(section) == 2
        assert len(section[1].partition("\n#")[0].strip()) > 40


def test_the_guide_for_ci_has_every_exit_code():
    rows = re.findall(r"^\| (\d+) \|", text_of("docs/guides/ci.md"), flags=re.MULTILINE)
    assert [int(code) for code in rows] == list(EXIT_CODES)


def test_the_glossary_has_every_word_of_the_design_in_alphabetical_order():
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", text_of("docs/glossary.md"), flags=re.MULTILINE)
    assert set(WORDS) <= set(words)
    assert len(set(words)) == len(words)
    assert [word[0].lower() for word in words] == sorted(word[0].lower() for word in words)


def test_the_design_names_every_table_and_column_of_the_catalog(tmp_path):
    open_catalog(f"sqlite:///{tmp_path}/catalog.db").close()
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as connection:
        tables = [
            name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")
        ]
        real = {
            table: [row[1] for row in connection.execute(f"pragma table_info({table})")]
            for table in tables
            if not table.startswith("sqlite_")
        }
    section = text_of("docs/design.md").partition("### Tables")[2].partition("\n### ")[0]
    told = {
        table: re.findall(r"`(\w+)`", columns)
        for table, columns in re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, flags=re.MULTILINE)
    }
    assert told == real


def test_the_architecture_is_one_page_with_the_floors_that_are_checked():
    contract = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]
    checked = [re.findall(r"\w+", layer) for layer in contract["layers"]]
    text = text_of("ARCHITECTURE.md")
    block = blocks_of(text.partition("## Floors")[2])[0]
    told = [re.findall(r"\w+", re.split(r"\s{2,}", line)[0]) for line in block.text.split("\n")]
    assert told == checked
    assert len(text.splitlines()) < 80


def test_the_changelog_has_the_present_version():
    assert f"\n## {ab.__version__}" in text_of("CHANGELOG.md")


# links


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", outside_of_blocks(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", every_page())
def test_every_link_of_a_page_leads_somewhere(page):
    for link in LINK.findall(outside_of_blocks(text_of(page))):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_every_page_is_reached_from_the_index():
    seen, todo = set(), ["docs/index.md"]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        for link in LINK.findall(outside_of_blocks(text_of(page))):
            path = link.partition("#")[0]
            if path.endswith(".md") and not link.startswith("https://"):
                todo.append(((ROOT / page).parent / path).resolve().relative_to(ROOT).as_posix())
    assert seen == set(every_page())


def test_pictures_are_small_enough_to_be_looked_at():
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert pictures
    assert all(picture.stat().st_size < 300_000 for picture in pictures)
