"""How a command is declared: its options, the options that every command takes, its exit codes and its JSON shape.

A command returns a `Reply`; nothing below this face prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from anabranch.cli.face import Face, Reply
from anabranch.errors import EXIT_CODES

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Shared(click.Option):
    """An option that every command takes, before the verb and after it."""


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, _: click.Parameter, value: Any) -> None:
        face = context.ensure_object(Face)
        if value:
            setattr(face, name, value)

    return keep


def shared_options() -> list[click.Option]:
    """The options that every command takes."""
    return [
        Shared(
            ["-C", "--project", "shared_folder"],
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            metavar="DIR",
            callback=_set("folder"),
            expose_value=False,
            help="Work in the project of this folder.",
        ),
        Shared(
            ["--json", "shared_json"],
            is_flag=True,
            callback=_set("json"),
            expose_value=False,
            help="Print one JSON document, errors included.",
        ),
        Shared(
            ["--no-color", "shared_no_color"],
            is_flag=True,
            callback=_set("no_color"),
            expose_value=False,
            help="No colours; so does NO_COLOR.",
        ),
        Shared(
            ["-v", "--verbose", "shared_verbose"],
            is_flag=True,
            callback=_set("verbose"),
            expose_value=False,
            help="Tell everything, also the tracebacks of errors.",
        ),
    ]


class Verb(click.Command):
    """A command of the product.

    Args:
        shape: Key → meaning of what ``--json`` prints.
        codes: Exit code → meaning, where it differs from `EXIT_CODES`.
    """

    def __init__(
        self,
        *args: Any,
        shape: Mapping[str, str] | None = None,
        codes: Mapping[int, str] | None = None,
        **rest: Any,
    ) -> None:
        rest.setdefault("context_settings", CONTEXT)
        super().__init__(*args, **rest)
        self.shape = dict(shape or {})
        self.codes = {**EXIT_CODES, **(codes or {})}
        self.params.extend(shared_options())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options, then those of all commands."""
        format_options(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Exit codes and the JSON document's keys."""
        if self.shape:
            with formatter.section("JSON (--json) holds"):
                formatter.write_text(", ".join(self.shape))
        format_codes(self.codes, formatter)


def format_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Writes a command's own options, then the shared ones in a section of their own."""
    own: list[tuple[str, str]] = []
    shared: list[tuple[str, str]] = []
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None:
            (shared if isinstance(param, Shared) else own).append(record)
    for title, records in (("Options", own), ("Options of every command", shared)):
        if records:
            with formatter.section(title):
                formatter.write_dl(records)


def format_codes(codes: Mapping[int, str], formatter: click.HelpFormatter) -> None:
    """Writes what exit codes mean."""
    with formatter.section("Exit codes"):
        formatter.write_dl([(str(code), text) for code, text in codes.items()])


def verb(
    name: str,
    *,
    shape: Mapping[str, str] | None = None,
    codes: Mapping[int, str] | None = None,
) -> Callable[[Callable[..., Reply]], Verb]:
    """Declares a command; its docstring is its help."""
    return click.command(name, cls=Verb, shape=shape, codes=codes)


def ask_option(help_text: str) -> Callable[[Any], Any]:
    """``--yes``."""
    return click.option("-y", "--yes", is_flag=True, help=help_text)


def select_option() -> Callable[[Any], Any]:
    """``--select``."""
    return click.option(
        "-s",
        "--select",
        multiple=True,
        metavar="WORDS",
        shell_complete=complete("assets"),
        help="Only these assets: NAME, +NAME (and what it is made from), NAME+ (and what is made from it), tag:NAME, "
        "changed. May be repeated.",
    )


def sample_options() -> Callable[[Any], Any]:
    """``--sample`` and ``--sample-by``."""

    def both(command: Any) -> Any:
        by = click.option("--sample-by", metavar="COLUMN", help="Choose the sample's rows by this column.")
        share = click.option(
            "--sample",
            metavar="SHARE",
            help="In a sandbox: read such a share of the base from now on, for example 5%; none for all of it.",
        )
        return share(by(command))

    return both


def complete(*kinds: str) -> Callable[[click.Context, click.Parameter, str], Sequence[CompletionItem]]:
    """Completes names that the catalog knows; see `anabranch.cli.complete`."""

    def find(context: click.Context, _: click.Parameter, incomplete: str) -> Sequence[CompletionItem]:
        from anabranch.cli.complete import candidates

        face = context.find_object(Face)
        folder = face.folder if face is not None else None
        return [CompletionItem(word) for word in candidates(kinds, incomplete, folder)]

    return find


pass_face = click.make_pass_decorator(Face, ensure=True)
