"""The one door: everything that is said leaves through here, as text or as JSON, with an exit code.

An error of ours is a sentence, a hint and a code; anything else that goes wrong is our mistake and keeps its traceback.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from types import FrameType
from typing import Any

import click

from anabranch.cli.face import Face, Reply, write
from anabranch.errors import AnabranchError
from anabranch.report.lines import Line, Span, clean, line, paragraph

INTERRUPTED = 130
BUG = 70
_COMPLETE = "_ANABRANCH_COMPLETE"
_REPORT = (
    "this is a mistake in anabranch; please report it with the traceback above (shown with -v for --json)"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Without the program's name; default: those of the process.

    Returns:
        The exit code, one of `EXIT_CODES`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if _COMPLETE in os.environ:
        return _completion(os.environ[_COMPLETE])
    # Importing makes many objects that stay; looking through them over and over is a tenth of a short command.
    gc.set_threshold(200_000, *gc.get_threshold()[1:])
    atexit.register(_leave)
    with _heard_signals():
        return _run(words)


def _leave() -> None:
    """Spares the interpreter's last look for garbage among what goes with the process anyway.

    Not where extension modules are loaded that are not known to bear it: DuckDB's complains of what it still finds then.
    """
    loaded = {
        name.partition(".")[0]
        for name, module in sys.modules.items()
        if str(getattr(module, "__file__", None)).endswith(tuple(EXTENSION_SUFFIXES))
    }
    if loaded <= {*sys.stdlib_module_names, "pydantic_core", "numpy", "pyarrow"}:
        gc.freeze()


def _run(words: list[str]) -> int:
    face = Face(json="--json" in words[: words.index("--")] if "--" in words else "--json" in words)
    try:
        return _speak(face, words)
    except BrokenPipeError:
        # Whoever read has seen enough; what was to be done is done.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return face.code
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        face.close()


def _speak(face: Face, words: list[str]) -> int:
    reply = _do(face, words)
    face.code = reply.code
    if reply.errors:
        face.err(reply.errors)
    write(_text(face, reply), sys.stdout)
    return reply.code


def _text(face: Face, reply: Reply) -> str:
    """What goes to stdout."""
    if reply.said is None and face.json:
        from anabranch.report.json import document

        reply.said = document(reply.to_dict())
    elif reply.said is None:
        reply.said = reply.raw if reply.raw is not None else face.text(reply.lines())
    return reply.said


def _do(face: Face, words: list[str]) -> Reply:
    """Runs the command and words its reply; whatever is raised becomes a reply."""
    from anabranch.cli.app import app

    try:
        with app.make_context("anabranch", words, obj=face) as context:
            reply = app.invoke(context)
        assert isinstance(reply, Reply), f"a command returned {reply!r}"
        _text(face, reply)
        return reply
    except click.exceptions.Exit as done:
        # Help and --version have printed what they had to say.
        face.json = False
        return Reply({}, code=done.exit_code, raw="")
    except click.ClickException as error:
        return _usage(error)
    except AnabranchError as error:
        return _ours(face, error)
    except (KeyboardInterrupt, click.Abort):
        return _interrupted()
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last door: nothing may leave unsaid
        return _bug(error)


def _ours(face: Face, error: AnabranchError) -> Reply:
    told = error_lines(str(error), error.hint)
    frames = error.facts.get("traceback")
    more = _more(error)
    if isinstance(frames, str) and frames:
        more = [*paragraph(frames.rstrip(), "dim", "  "), *more]
    if face.verbose:
        more = [*paragraph(_trace(error), "dim"), *more]
    return Reply(error.to_dict(), errors=[*more, *told], code=type(error).exit_code)


def _more(error: AnabranchError) -> list[Line]:
    """What else an error has to tell: further mistakes in anabranch.toml, the gate's other reasons."""
    mistakes = error.facts.get("mistakes")
    if isinstance(mistakes, list) and len(mistakes) > 1:
        return [line(Span("also: ", "dim"), f"{one['place']}: {one['message']}") for one in mistakes[1:]]
    verdict = error.facts.get("verdict")
    if isinstance(verdict, dict):
        from anabranch.report.text import verdict_lines

        return list(verdict_lines(verdict))
    return []


def error_lines(message: str, hint: str | None) -> list[Line]:
    """``error: …`` and ``hint: …``."""
    first, *rest = message.splitlines() or [""]
    told = [line(Span("error: ", "bad"), first), *(line("  ", one) for one in rest)]
    return [*told, *([line(Span("hint: ", "warn"), hint)] if hint else [])]


def _usage(error: click.ClickException) -> Reply:
    context = getattr(error, "ctx", None)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        told = _error_dict("UsageError", "a command is missing", "`anabranch --help` lists them")
        return Reply(told, errors=paragraph(error.format_message()), code=2)
    hint = getattr(error, "hint", None)
    if not hint and context is not None:
        hint = f"`{context.command_path} --help` tells more"
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    shape = _error_dict("UsageError", message, hint)
    return Reply(shape, errors=error_lines(message, hint), code=2)


def _interrupted() -> Reply:
    message = "interrupted; everything is sound, and the same command goes on"
    return Reply(
        _error_dict("Interrupted", message, None),
        errors=[line(), line(Span(message, "warn"))],
        code=INTERRUPTED,
    )


def _bug(error: Exception) -> Reply:
    message = clean(f"{type(error).__name__}: {error}")
    lines = [*paragraph(_trace(error), "dim"), *error_lines(message, _REPORT)]
    return Reply(_error_dict(type(error).__name__, str(error), _REPORT), errors=lines, code=BUG)


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip()


def _error_dict(kind: str, message: str, hint: str | None) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message, "place": None, "hint": hint, "facts": {}}}


@contextlib.contextmanager
def _heard_signals() -> Iterator[None]:
    """Whoever ends this process is heard as Ctrl-C is, unless the signal is ignored on purpose (nohup)."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    kept = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Only the main thread of a program may do this; an embedded call leaves signals alone.
        with contextlib.suppress(ValueError):
            if signal.getsignal(number) is signal.SIG_DFL:
                kept[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _completion(instruction: str) -> int:
    from click.shell_completion import shell_complete

    from anabranch.cli.app import app

    try:
        return shell_complete(app, {}, "anabranch", _COMPLETE, instruction)
    except Exception:  # noqa: BLE001 - whoever presses TAB wants no traceback
        return 1
