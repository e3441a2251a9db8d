"""The reference pages, made from the code itself, so that they can't tell anything else.

Each function returns the text of one page. Only the pages' introductions are written by hand, and they stand here.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):\s*$")
_ITEM = re.compile(r"^(?P<name>\*{0,2}[\w.]+(?:, [\w.*]+)*)(?: \([^)]*\))?: (?P<text>.*)$", re.DOTALL)
_TITLES = {
    "Args": "Arguments",
    "Attributes": "Attributes",
    "Returns": "Returns",
    "Raises": "Raises",
    "Yields": "Yields",
}
_FOR_UPPER_FLOORS = {
    "Asset": {"place"},
    "Check": {"place"},
    "Definitions": {"resource_set", "all_sets", "variables", "foreign_variables"},
    "Resource": {"model_post_init", "resolved", "described", "digest"},
    "Sandboxes": {"ensure", "clone"},
    "Table": {
        "of_metadata",
        "current_schema",
        "manifest_list",
        "manifests",
        "entries",
        "check_files",
        "scan_files",
    },
}
"""Public for the program's own floors, not for users."""
_NOT_MADE_BY_USERS = {"Asset", "Check", "Table"}


_MADE = "<!-- Made from the code by scripts/docs.py; edit the docstrings instead. -->\n"

DECLARING = [
    "asset",
    "sql",
    "Asset",
    "Definitions",
    "Config",
    "Resource",
    "EnvVar",
    "CloneOf",
    "File",
    "Table",
    "tag",
    "pii",
    "keep",
    "Changes",
    "Upsert",
]
PARTITIONS = [
    "daily",
    "hourly",
    "weekly",
    "monthly",
    "keys",
    "Partition",
    "Input",
    "last",
    "offset",
]
CHECKING = [
    "check",
    "not_null",
    "unique",
    "row_count",
    "references",
    "accepted_values",
    "fresh",
    "Check",
    "CheckResult",
]
ERRORS = ["AnabranchError"]

RESULTS = [
    "anabranch.project.results.Status",
    "anabranch.project.results.Where",
    "anabranch.settings.deciding.PullRequest",
    "anabranch.planning.plan.Plan",
    "anabranch.planning.plan.Step",
    "anabranch.planning.changes.Reason",
    "anabranch.planning.incremental.Increment",
    "anabranch.running.workspace.RunResult",
    "anabranch.running.outcome.Execution",
    "anabranch.running.outcome.Outcome",
    "anabranch.running.outcome.CheckOutcome",
    "anabranch.running.events.Event",
    "anabranch.project.results.CheckReport",
    "anabranch.diff.summary.Diff",
    "anabranch.diff.summary.TableDiff",
    "anabranch.diff.schema.SchemaDiff",
    "anabranch.diff.rows.RowsDiff",
    "anabranch.diff.rows.RowSample",
    "anabranch.diff.summary.ColumnSummary",
    "anabranch.promotion.PromotionResult",
    "anabranch.promotion.Prepared",
    "anabranch.gate.Verdict",
    "anabranch.gate.GateReason",
    "anabranch.gate.Approval",
    "anabranch.promotion.RollbackPlan",
    "anabranch.project.results.Log",
    "anabranch.project.results.Shown",
    "anabranch.catalog.base.Commit",
    "anabranch.catalog.base.Entry",
    "anabranch.catalog.base.Provenance",
    "anabranch.project.sandboxes.Opened",
    "anabranch.project.sandboxes.Synced",
    "anabranch.project.sandboxes.Closed",
    "anabranch.sandbox.lifecycle.SandboxInfo",
    "anabranch.clones.keeper.CloneInfo",
    "anabranch.masking.sync.SyncResult",
    "anabranch.masking.plan.MaskStep",
    "anabranch.sandbox.gc.GcResult",
    "anabranch.lake.file.StoredFile",
    "anabranch.lake.changes.ChangedRows",
]


def python_page() -> str:
    """docs/reference/python.md: every public name, `Project` and what its verbs return."""
    import anabranch as ab
    from anabranch.project.sandboxes import Sandboxes

    covered = {*DECLARING, *PARTITIONS, *CHECKING, *ERRORS, "Project"}
    missing = set(ab.__all__) ^ covered
    if missing:
        raise ValueError(
            f"scripts/docs_reference.py does not sort {', '.join(sorted(missing))} into a section"
        )
    parts = [
        _MADE,
        "# Python\n",
        "Everything here is imported with `import anabranch as ab`. What is not on this page is not public.\n",
        "## Declaring a pipeline\n",
        *(_name(f"ab.{name}", getattr(ab, name)) for name in DECLARING),
        "## Cutting tables into partitions\n",
        *(_name(f"ab.{name}", getattr(ab, name)) for name in PARTITIONS),
        "## Checking data\n",
        *(_name(f"ab.{name}", getattr(ab, name)) for name in CHECKING),
        "## Working with a project\n",
        "A `Project` has the verbs of the command line as methods of the same names. It prints nothing and asks nobody.\n",
        _name("ab.Project", ab.Project, heading="project"),
        "### project.sandbox\n",
        f"{_text(inspect.getdoc(Sandboxes))}\n",
        *_members("project.sandbox", Sandboxes),
        "## Errors\n",
        _name("ab.AnabranchError", ab.AnabranchError),
        "The whole tree is on the page [Errors](errors.md).\n",
        "## What the verbs return\n",
        "Plain values. Most have `to_dict()`, whose keys are those of the command's `--json`.\n",
        *(_result(path) for path in RESULTS),
    ]
    return "\n".join(parts)


def settings_page() -> str:
    """docs/reference/settings.md: every key of anabranch.toml."""
    from anabranch.settings import settings_reference

    parts = [
        _MADE,
        "# anabranch.toml\n",
        (
            "One file beside the code says what a project is called, where its data lives, which environments it has and by "
            "which rules. It is found in the working folder or in a folder around it. A mistake in it is told with its line.\n"
        ),
        "- A *duration* is text with a unit: `30s`, `15m`, `1h`, `14d`, `2w`, or a sum such as `1h30m`.",
        '- A *share* is text with a percent sign: `"10%"`.',
        "- `${NAME}` in `[warehouse]` is read from the environment when it is needed; `$${NAME}` stands for itself.",
        "- `<name>` is a name of your choice.\n",
    ]
    table = ""
    for row in settings_reference():
        prefix, _, key = row.key.rpartition(".")
        if prefix != table:
            table = prefix
            parts += [
                f"\n## [{table}]\n",
                "| key | takes | default | meaning |",
                "| --- | --- | --- | --- |",
            ]
        cells = [f"`{key}`", row.type, f"`{row.default}`", " ".join(row.description.split())]
        parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    parts += [
        "\n## The smallest file\n",
        "```toml",
        "[project]",
        'name = "shop"',
        'definitions = "pipeline.definitions:defs"',
        "",
        "[environments.production]",
        'git_branch = "main"',
        "```\n",
    ]
    return "\n".join(parts)


def errors_page() -> str:
    """docs/reference/errors.md: the tree, the exit codes, the JSON shape."""
    from anabranch import errors

    tree = (errors.__doc__ or "").partition("\n\n")[2].rstrip()
    shape = {"type": "…", "message": "…", "place": "…", "hint": "…", "facts": {}}
    parts = [
        _MADE,
        "# Errors\n",
        (
            "Every error that a user can cause is one class of this tree. It has a `message` that names the thing, a `place` "
            "(`anabranch.toml:14 environments.production.branch`), a `hint` that says what to do, and `facts` for programs. "
            "What to do about each is on the page [Troubleshooting](../guides/troubleshooting.md).\n"
        ),
        f"```text\n{tree}\n```\n",
        "## Exit codes\n",
        "| code | meaning |",
        "| --- | --- |",
        *(f"| {code} | {text} |" for code, text in errors.EXIT_CODES.items()),
        "",
        "| error | exit code |",
        "| --- | --- |",
        *(f"| `{cls.__name__}` | {cls.exit_code} |" for cls in error_classes()),
        "",
        "## As JSON\n",
        "With `--json` an error is one document on stdout, and the same sentence stands on stderr:\n",
        f"```json\n{json.dumps({'error': shape}, indent=2, ensure_ascii=False)}\n```\n",
        "`type` is the class, or `UsageError` for a mistake in the command itself, or `Interrupted`.\n",
    ]
    return "\n".join(parts)


def error_classes() -> list[type[Any]]:
    """The errors of the tree, each before those below it."""
    from anabranch.errors import AnabranchError

    def walk(root: type[AnabranchError]) -> Iterator[type[Any]]:
        yield root
        for child in root.__subclasses__():
            if child.__module__ == AnabranchError.__module__:
                yield from walk(child)

    return list(walk(AnabranchError))


def cli_page() -> str:
    """docs/reference/cli.md."""
    from anabranch.cli.reference import cli_reference

    return _MADE + "\n" + cli_reference().replace("\n\n\n", "\n\n")


# json


def json_page(sample: Callable[[str], Any]) -> str:
    """docs/reference/json.md: the keys of every ``--json``, and a real document of each.

    Args:
        sample: Command → the document that it printed; None where it prints none.
    """
    from anabranch.cli.reference import all_commands
    from anabranch.cli.verb import Verb

    parts = [
        _MADE,
        "# JSON\n",
        (
            "Every command prints one JSON document on stdout with `--json`, and nothing else there; progress and warnings go "
            "to stderr. The keys are a promise. An error has [a shape of its own](errors.md#as-json). The documents below are "
            "real ones of a small project; times, ids, hashes and sizes are replaced, and a list shows its first item only.\n"
        ),
    ]
    for name, command in all_commands().items():
        if not isinstance(command, Verb):
            continue
        parts += [f"## anabranch {name} --json\n", "| key | what it holds |", "| --- | --- |"]
        parts += [f"| `{key}` | {text} |" for key, text in command.shape.items()]
        parts.append("")
        found = sample(name)
        if found is not None:
            shown = json.dumps(example(found), indent=2, ensure_ascii=False)
            parts.append(f"```json\n{shown}\n```\n")
    return "\n".join(parts)


_ID = re.compile(r"\b1[0-9a-hjkmnp-tv-z]{15}\b")
_VERSION = re.compile(r"ab1:[0-9a-f]{16}:(\d+):[0-9a-f]{32}|f1:[0-9a-f]{64}")
_HASH = re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{32,64}\b")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def example(value: Any, key: str = "") -> Any:
    """A document with what varies replaced, lists cut to one item and long texts to their first line."""
    if isinstance(value, Mapping):
        return {name: example(one, name) for name, one in value.items()}
    if isinstance(value, list):
        plain = all(isinstance(one, str | int | float | None) for one in value)
        return [example(one, key) for one in (value if plain else value[:1])]
    if key in ("seconds", "seconds_at_most", "start", "waited") and isinstance(value, float):
        return 0.25
    if key in ("bytes", "left_bytes", "right_bytes", "kept_bytes") and isinstance(value, int) and value:
        return 1024
    if key == "pid":
        return 4711
    if key in ("python", "catalog", "version") and isinstance(value, str) and not value.startswith("ab1:"):
        return {"python": "3.13.1", "catalog": "SQLite 3.46.1"}.get(key, value)
    if isinstance(value, str):
        text = _UUID.sub("7f0c…", value)
        text = _VERSION.sub(
            lambda found: f"ab1:9fddf859…:{found[1]}:a3d90de4…" if found[1] else "f1:2c26b46b…", text
        )
        text = _ID.sub("1m5x0q8k2v3n4p6t", text)
        text = _MOMENT.sub("2026-11-20T09:00:00+00:00", text)
        text = _HASH.sub("4b825dc6…", text)
        return text if len(text) <= 120 else f"{text[:100].partition(chr(10))[0]}…"
    return value


# rendering


def _name(shown: str, value: Any, heading: str | None = None) -> str:
    title = f"### {shown}\n"
    if inspect.isclass(value):
        made = shown.removeprefix("ab.")
        parts = [title]
        doc = inspect.getdoc(value) or ""
        if made in _NOT_MADE_BY_USERS:
            doc = doc.partition("\n\nArgs:")[0]
        else:
            parts.append(_signature(shown, value))
        parts.append(f"{_text(doc)}\n")
        parts += _members(heading or made.lower(), value)
        return "\n".join(parts)
    return "\n".join([title, _signature(shown, value), f"{_text(inspect.getdoc(value))}\n"])


def _result(path: str) -> str:
    module, _, name = path.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    parts = [f"### {name}\n", f"{_text(inspect.getdoc(cls))}\n"]
    own = [
        (attribute, value)
        for attribute, value in vars(cls).items()
        if isinstance(value, property) and not attribute.startswith("_")
    ]
    parts += [f"- `{attribute}` (property): {_first(value.__doc__)}" for attribute, value in own]
    return "\n".join(parts) + ("\n" if own else "")


def _members(owner: str, cls: type[Any]) -> list[str]:
    """Public methods and properties, in the order in which they are defined; inherited ones of our own classes too."""
    parts = []
    seen = set(_FOR_UPPER_FLOORS.get(cls.__name__, ()))
    for base in cls.__mro__:
        if not base.__module__.startswith("anabranch"):
            continue
        for name, value in vars(base).items():
            if name.startswith("_") or name in seen:
                continue
            seen.add(name)
            plain = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            if isinstance(plain, property) or hasattr(plain, "attrname"):
                doc = plain.__doc__ or getattr(getattr(plain, "func", None), "__doc__", None)
                parts.append(f"#### {owner}.{name}\n\n{_text(inspect.cleandoc(doc or ''))}\n")
            elif inspect.isfunction(plain):
                parts.append(
                    f"#### {owner}.{name}\n\n{_signature(f'{owner}.{name}', plain)}\n{_text(inspect.getdoc(plain))}\n"
                )
    return parts


def _signature(shown: str, value: Any) -> str:
    signature = inspect.signature(value)
    parameters = [p for name, p in signature.parameters.items() if name not in ("self", "cls")]
    returns = signature.return_annotation
    arrow = (
        ""
        if returns is inspect.Signature.empty or inspect.isclass(value)
        else f" -> {inspect.formatannotation(returns) if not isinstance(returns, str) else returns}"
    )
    shown_parameters = [str(p) for p in signature.replace(parameters=parameters).parameters.values()]
    texts: list[str] = []
    star = slash = False
    for text, parameter in zip(shown_parameters, parameters, strict=True):
        if slash and parameter.kind is not parameter.POSITIONAL_ONLY:
            texts.append("/")
            slash = False
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            if not any(p.kind is p.VAR_POSITIONAL for p in parameters):
                texts.append("*")
            star = True
        slash = slash or parameter.kind is parameter.POSITIONAL_ONLY
        texts.append(_unquoted(text))
    line = f"{shown}({', '.join(texts)}){arrow}"
    if len(line) > 100:
        inner = "".join(f"    {text},\n" for text in texts)
        line = f"{shown}(\n{inner}){arrow}"
    return f"```text\n{line}\n```\n"


def _unquoted(text: str) -> str:
    """``key: 'str' = 'x'`` → ``key: str = 'x'``: annotations are kept as texts, defaults as they are."""
    text = re.sub(r": (?:'([^']*)'|\"([^\"]*)\")", lambda found: f": {found[1] or found[2]}", text, count=1)
    text = re.sub(r"<class '(\w+)'>", r"\1", text)
    return re.sub(r"<function .*>", "…", text)


def _text(doc: str | None) -> str:
    """A docstring as Markdown: prose, then its sections as lists."""
    if not doc:
        return ""
    blocks: list[str] = []
    prose: list[str] = []
    lines = doc.splitlines()
    at = 0
    while at < len(lines):
        section = _SECTION.match(lines[at])
        if section is None:
            prose.append(lines[at])
            at += 1
            continue
        end = at + 1
        while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" ")):
            end += 1
        blocks += [_prose(prose), _section(section[1], textwrap.dedent("\n".join(lines[at + 1 : end])))]
        prose = []
        at = end
    return "\n\n".join(block for block in [*blocks, _prose(prose)] if block)


def _prose(lines: list[str]) -> str:
    return "\n".join(lines).strip()


def _section(title: str, body: str) -> str:
    items: list[str] = []
    for line in body.strip().splitlines():
        if line.startswith(" ") and items:
            items[-1] += f" {line.strip()}"
        elif line.strip():
            items.append(line.strip())
    if title in ("Returns", "Yields"):
        return f"{_TITLES[title]}: {' '.join(items)}"
    shown = []
    for item in items:
        match = _ITEM.match(item)
        if match is None:
            shown.append(f"- {item}")
        else:
            names = ", ".join(f"`{name}`" for name in match["name"].split(", "))
            shown.append(f"- {names}: {match['text']}")
    return f"{_TITLES[title]}:\n\n" + "\n".join(shown)


def _first(doc: str | None) -> str:
    return " ".join((doc or "").split())
