"""The command line's reference, made from the commands themselves, so that it can't tell anything else."""

from __future__ import annotations

from collections.abc import Iterator

import click

from anabranch.cli.app import COMMANDS, app
from anabranch.cli.verb import Shared, Verb
from anabranch.errors import EXIT_CODES


def cli_reference() -> str:
    """Markdown of all commands: what they do, their arguments, options, JSON and exit codes."""
    parts = ["# Command line\n", _intro(), _codes(EXIT_CODES, "Exit codes of every command:")]
    for section in dict.fromkeys(listed.section for listed in COMMANDS.values()):
        parts.append(f"## {section}\n")
        for name, listed in COMMANDS.items():
            if listed.section == section:
                context = click.Context(app, info_name="anabranch")
                command = app.get_command(context, name)
                assert command is not None
                parts += _command(command, context, name)
    return "\n".join(parts)


def all_commands() -> dict[str, click.Command]:
    """Every command by what one types after ``anabranch``: ``run``, ``sandbox open``."""
    found: dict[str, click.Command] = {}
    context = click.Context(app, info_name="anabranch")
    for name in COMMANDS:
        command = app.get_command(context, name)
        assert command is not None
        found[name] = command
        if isinstance(command, click.Group):
            found |= {f"{name} {sub}": one for sub, one in command.commands.items()}
    return found


def _intro() -> str:
    shared = [_option(param) for param in app.params if isinstance(param, Shared)]
    return "Options of every command, before the verb or after it:\n\n" + "\n".join(shared) + "\n"


def _command(command: click.Command, parent: click.Context, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    yield f"### anabranch {context.command_path.removeprefix('anabranch ')}\n"
    yield f"```text\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```\n"
    yield f"{_help(command)}\n"
    own = [p for p in command.params if isinstance(p, click.Option) and not isinstance(p, Shared)]
    if own:
        yield "\n".join(_option(option) for option in own) + "\n"
    if isinstance(command, Verb):
        if command.shape:
            rows = [f"| `{key}` | {text} |" for key, text in command.shape.items()]
            yield (
                "\n".join(
                    ["`--json` prints one object:", "", "| key | what it holds |", "| --- | --- |", *rows]
                )
                + "\n"
            )
        other = {code: text for code, text in command.codes.items() if EXIT_CODES.get(code) != text}
        if other:
            yield _codes(other, "Exit codes that differ:")
    if isinstance(command, click.Group):
        for sub, one in command.commands.items():
            yield from _command(one, context, sub)


def _help(command: click.Command) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))


def _option(option: click.Parameter) -> str:
    assert isinstance(option, click.Option)
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    metavar = f" `{option.metavar}`" if option.metavar else ""
    default = f" Default: {option.default}." if option.show_default else ""
    return f"- {names}{metavar}: {option.help}{default}"


def _codes(codes: dict[int, str], title: str) -> str:
    rows = [f"| {code} | {text} |" for code, text in codes.items()]
    return "\n".join([title, "", "| code | meaning |", "| --- | --- |", *rows]) + "\n"
