"""The commands by name. Their modules are imported when they run, so that help and completion answer at once."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import click

from anabranch import __version__
from anabranch.cli.verb import CONTEXT, format_codes, format_options, shared_options
from anabranch.errors import EXIT_CODES
from anabranch.names import did_you_mean


class Listed(NamedTuple):
    """Where a command is, and its line in the overview."""

    section: str
    module: str
    summary: str


COMMANDS: Mapping[str, Listed] = {
    "init": Listed("Start", "starting", "Make a project that runs"),
    "status": Listed("Look", "looking", "Where am I, on which base, what has changed, what is stale"),
    "plan": Listed("Look", "looking", "What would run, why, and what it is estimated to cost"),
    "diff": Listed("Look", "comparing", "What a sandbox did to the data, against its base"),
    "sql": Listed("Look", "querying", "Query any ref with DuckDB"),
    "log": Listed("Look", "history", "Commits of a branch, newest first"),
    "show": Listed("Look", "history", "One commit, run or asset in full"),
    "run": Listed("Work", "working", "Do what the plan says"),
    "check": Listed("Work", "working", "Run the checks alone"),
    "sandbox": Listed("Work", "sandboxes", "List, open, sync, close sandboxes, or work in one"),
    "sync": Listed("Work", "masking", "Bring a masked environment up to date with its parent"),
    "dagster": Listed(
        "Work", "dagster", "Dagster's web UI on the branch at hand; deliver what was published"
    ),
    "promote": Listed("Publish", "publishing", "Publish a sandbox into its environment, in one commit"),
    "approve": Listed("Publish", "publishing", "Approve exactly what a promotion would publish"),
    "rollback": Listed("Publish", "publishing", "Restore an earlier state of an environment"),
    "tag": Listed("Upkeep", "upkeep", "Name a commit, or list the names"),
    "gc": Listed("Upkeep", "upkeep", "Free the storage that nothing needs any more"),
    "completion": Listed("Upkeep", "starting", "Print the completion script of a shell"),
    "version": Listed("Upkeep", "starting", "Print the version"),
}


class UnknownCommandError(click.UsageError):
    """A verb that does not exist, with a hint."""

    def __init__(self, message: str, context: click.Context, hint: str) -> None:
        super().__init__(message, context)
        self.hint = hint


class Commands(click.Group):
    """A group that suggests the nearest name, and shows the shared options apart."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command; an unknown one is told with the nearest name."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            known = self.list_commands(ctx)
            hint = did_you_mean(name, known, f"`{ctx.command_path} --help` lists them")
            raise UnknownCommandError(f"there is no command {name!r}", ctx, hint or "")
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands, then options."""
        self.format_commands(ctx, formatter)
        format_options(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The exit codes."""
        format_codes(EXIT_CODES, formatter)


class App(Commands):
    """The commands, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's protocol
        """In the order of the overview."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's protocol
        """The command of that name."""
        listed = COMMANDS.get(cmd_name)
        if listed is None:
            return None
        module: Any = importlib.import_module(f"anabranch.cli.verbs.{listed.module}")
        return cast("click.Command", getattr(module, cmd_name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The overview, without importing anything."""
        for section in dict.fromkeys(listed.section for listed in COMMANDS.values()):
            with formatter.section(section):
                formatter.write_dl(
                    [(name, listed.summary) for name, listed in COMMANDS.items() if listed.section == section]
                )


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"anabranch {__version__}")
        ctx.exit()


app = App(
    "anabranch",
    help="A sandbox for every git branch of a data pipeline: its code, a writable snapshot of production, one promotion."
    "\n\nThe git branch that is checked out decides where you are: an environment, or the branch's own sandbox.",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Print the version and exit.",
        ),
        *shared_options(),
    ],
    context_settings=CONTEXT,
    no_args_is_help=True,
    subcommand_metavar="COMMAND …",
)
