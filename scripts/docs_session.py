"""Plays what the documentation shows: the commands and code of a page, in order, in a scratch folder with real git.

A page is Markdown. Its fenced blocks mean:

- ``console``: lines that begin with ``$ `` are commands (``> `` continues one), the others what they print;
- ``diff``: an edit of a file of the scratch folder; ``---`` and ``+++`` name it, lines without a number find the place;
- ``python``: is executed, in one namespace for the page; a ``text`` block after ``<!-- output -->`` is what it prints;
- ``toml``: has to be understood as anabranch.toml;
- any block after ``<!-- write: path -->`` is written to that file instead.

What varies (times, ids, hashes, sizes) is made alike before two outputs are compared, and ``…`` alone on a line stands
for any lines. Knows nothing of which pages there are.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

HOME = "/home/ada"
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\s*$")
_DIRECTIVE = re.compile(r"^\s*<!-- (?P<word>write|output)(?:: (?P<value>\S+))? -->\s*$")
_STEPS = {"run", "check", "promote"}
_PROGRESS = re.compile(r"^\d\d:\d\d:\d\d ")
_BASE = {"project": {"name": "shop", "definitions": "shop:defs"}, "environments": {"production": {}}}


class BrokenExampleError(Exception):
    """What a page shows is not what happens."""


@dataclass
class Block:
    """A fenced block.

    Attributes:
        language: The word behind the fence.
        text: What stands between the fences, without the fences' own indent.
        line: Line of its first line in the page, from 1.
        indent: Blanks before the fences.
        word, value: The directive above it, if there is one: ``write`` and a path, or ``output``.
        count: How many lines it has; an empty one has none.
    """

    language: str
    text: str
    line: int
    count: int
    indent: str = ""
    word: str = ""
    value: str = ""


def blocks_of(text: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found: list[Block] = []
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence is None:
            at += 1
            continue
        indent = fence["indent"]
        end = next(i for i in range(at + 1, len(lines)) if lines[i].rstrip() == f"{indent}```")
        above = next((lines[i] for i in range(at - 1, -1, -1) if lines[i].strip()), "")
        directive = _DIRECTIVE.match(above)
        inside = [one.removeprefix(indent) for one in lines[at + 1 : end]]
        found.append(
            Block(
                fence["language"],
                "\n".join(inside),
                at + 2,
                len(inside),
                indent,
                directive["word"] if directive else "",
                (directive["value"] or "") if directive else "",
            )
        )
        at = end + 1
    return found


@dataclass
class Call:
    """A command of a console block, and what the page says it prints."""

    command: str
    shown: list[str]
    line: int


def calls_of(block: Block) -> list[Call]:
    """The commands of a console block, in order."""
    calls: list[Call] = []
    for number, text in enumerate(block.text.split("\n"), block.line):
        if text.startswith("$ "):
            calls.append(Call(text[2:], [], number))
        elif text.startswith("> ") and calls and not calls[-1].shown:
            calls[-1].command += "\n" + text[2:]
        elif calls:
            calls[-1].shown.append(text)
        else:
            raise BrokenExampleError(f"line {number}: a console block begins with a command: $ …")
    for call in calls:  # an empty line between two commands is layout
        while call.shown and not call.shown[-1]:
            call.shown.pop()
    return calls


# alike

_ALIKE = [
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00|Z| UTC)?"), "MOMENT"),
    (re.compile(r"\b(?=[0-9a-hjkmnp-tv-z]*\d)1[0-9a-hjkmnp-tv-z]{15}\b"), "ID"),
    (re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{7,64}\b|\b[0-9a-f]{8}\b"), "HASH"),
    (re.compile(r"about .* of computing"), "about TIME of computing"),
    # How many commits a sandbox's run makes depends on how many workers there are.
    (re.compile(r"(?<![\w-])(?!production@|staging@)([A-Za-z][\w-]*)@\d+"), r"\1@NUMBER"),
    (re.compile(r"\bin \d+\.\d+s\b"), "in TIME"),
    (re.compile(r"~?\b\d+(\.\d+)? (ms|s|min|h)\b( \d+ s)?"), "TIME"),
    (re.compile(r"\b[\d,]+(\.\d+)? (B|kB|MB|GB)(?!\w)"), "SIZE"),
    (re.compile(r"\b(run|reused:) [\w.]+(, [\w.]+)+( and \d+ more)"), r"\1 NAMES\3"),
    (re.compile(r"process \d+"), "process PID"),
    (re.compile(r"anabranch \d+\.\d+\.\d+"), "anabranch VERSION"),
    (re.compile(r"Python 3\.\d+\.\d+, SQLite [\d.]+"), "VERSIONS"),
    (re.compile(r"\s+"), " "),
]


def alike(lines: list[str]) -> list[str]:
    """The lines with everything that varies from run to run replaced, and indented rows in one order.

    Steps end in any order where several run at once, so the rows below a line are compared as a set.
    """
    found: list[str] = []
    rows: list[str] = []
    for text in lines:
        made = text.strip()
        if made and set(made) <= set("~^"):  # marks below a line of a traceback: not the same on every Python
            continue
        for pattern, sign in _ALIKE:
            made = pattern.sub(sign, made)
        if text.startswith("  ") and made != "…":
            rows.append(made)
            continue
        found += [*sorted(rows), made]
        rows = []
    return [*found, *sorted(rows)]


def agree(shown: list[str], printed: list[str]) -> bool:
    """Whether a page shows what was printed; ``…`` alone on a line of the page stands for any lines."""
    return renewed(shown, printed) is not None


def renewed(shown: list[str], printed: list[str]) -> list[str] | None:
    """What a page shows with each line as it was printed, or None if they do not agree."""
    if not any(text.strip() == "…" for text in shown):
        return printed if alike(shown) == alike(printed) else None
    pieces: list[list[str]] = [[]]
    for text in shown:
        if text.strip() == "…":
            pieces.append([])
        else:
            pieces[-1].append(text)
    rest = [(text, alike([text])) for text in printed]
    found: list[str] = []
    for number, piece in enumerate(pieces):
        wanted = [alike([text]) for text in piece]
        last = max(0, len(rest) - len(wanted))
        places = (
            range(1)
            if number == 0
            else range(last, last + 1)
            if number == len(pieces) - 1
            else range(last + 1)
        )
        at = next((i for i in places if [one for _, one in rest[i : i + len(wanted)]] == wanted), None)
        if at is None:
            return None
        found += [*(["…"] if number else []), *(text for text, _ in rest[at : at + len(wanted)])]
        rest = rest[at + len(wanted) :]
    return found


# playing


class Session:
    """A scratch folder, an own environment, and what a page does there. Use it as a context; one at a time in a process.

    Args:
        workers: Whether steps run in processes of their own; else in this one, which takes less time.
    """

    def __init__(self, *, workers: bool = False) -> None:
        self.workers = workers
        self.names: dict[str, Any] = {"__name__": "__docs__"}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        scratch = tempfile.mkdtemp(prefix="docs-")
        self.scratch = Path(os.path.realpath(scratch))
        self._stack.callback(shutil.rmtree, self.scratch, ignore_errors=True)
        self.folder = self.scratch / "home"
        self.folder.mkdir()
        self._stack.enter_context(_restored_process())
        others = ("GIT_", "GITHUB_", "CI_", "GITLAB_", "DAGSTER_", "ANABRANCH_")
        for name in [n for n in os.environ if n in ("CI", "PYTEST_ADDOPTS") or n.startswith(others)]:
            del os.environ[name]
        os.environ |= {
            "HOME": str(self.folder),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ADVICE": "0",
            "NO_COLOR": "1",
            "PYTHONWARNINGS": "default",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        }
        for role in ("AUTHOR", "COMMITTER"):
            os.environ |= {f"GIT_{role}_NAME": "Ada Lovelace", f"GIT_{role}_EMAIL": "ada@example.com"}
        os.chdir(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        self.names.clear()
        self._stack.close()

    def run(self, command: str) -> tuple[int, list[str]]:
        """Runs one command; returns its exit code and the lines that it printed, on either stream."""
        words = _plain_words(command)
        if words and words[0] == "cd":
            os.chdir(Path(words[1]).expanduser() if len(words) > 1 else self.folder)
            return 0, []
        if words and words[0] == "export":
            os.environ.update(dict(word.split("=", 1) for word in words[1:]))
            return 0, []
        code, text = self._anabranch(words[1:]) if words and words[0] == "anabranch" else self._shell(command)
        text = text.replace(str(self.folder), HOME)
        return code, [one.rstrip() for one in text.splitlines() if not _PROGRESS.match(one)]

    def _anabranch(self, words: list[str]) -> tuple[int, str]:
        from anabranch.cli import main

        if not self.workers and words[:1] and words[0] in _STEPS and "--help" not in words:
            words = [*words, "--in-process"]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(words)
        return code, said.getvalue()

    def _shell(self, command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return done.returncode, done.stdout.decode()

    def edit(self, text: str) -> None:
        """Applies a diff block. Raises BrokenExampleError where its place is not found, or found twice."""
        header, *lines = [line for line in text.split("\n") if not line.startswith("@@")]
        file = self._inside(header.removeprefix("--- "))
        if lines.pop(0).removeprefix("+++ ") != header.removeprefix("--- "):
            raise BrokenExampleError("a diff block edits one file: --- and +++ name the same")
        old = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "+")
        new = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "-")
        present = file.read_text()
        if present.count(old) != 1:
            raise BrokenExampleError(f"the place of this edit is {present.count(old)} times in {file.name}")
        file.write_text(present.replace(old, new))

    def write(self, path: str, text: str) -> None:
        """Writes a block to a file of the scratch folder."""
        file = self._inside(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def execute(self, text: str, place: str) -> list[str]:
        """Executes Python; returns the lines that it printed."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(text, place, "exec"), self.names)  # noqa: S102 - the documentation's own examples
        return [line.rstrip() for line in said.getvalue().replace(str(self.folder), HOME).splitlines()]

    def settings(self, text: str) -> None:
        """Holds a toml block to what anabranch.toml may say; what it leaves out is filled in."""
        from anabranch.settings import Settings

        given = tomllib.loads(text)
        Settings.model_validate({**_BASE, **given})

    def _inside(self, path: str) -> Path:
        file = Path(os.path.normpath(Path.cwd() / path))
        if not file.is_relative_to(self.folder):
            raise BrokenExampleError(f"{path} is outside of the scratch folder")
        return file


def played(text: str, name: str, *, workers: bool = False, anew: bool = False) -> str:
    """Plays a page, and returns its text with every output that is not as shown replaced by what was printed.

    Args:
        text: The page.
        name: Its name, for messages.
        workers: See `Session`.
        anew: Replace also what differs in times, ids, hashes and sizes alone.

    Raises:
        BrokenExampleError: a block fails, or a command that should succeed does not.
    """
    edits: list[tuple[int, int, list[str]]] = []  # first line, number of lines, new lines
    printed: list[str] = []
    with Session(workers=workers) as session:
        for block in blocks_of(text):
            try:
                printed = _play(session, block, f"{name}:{block.line}", printed, edits, anew=anew)
            except BrokenExampleError as error:
                raise BrokenExampleError(f"{name}:{block.line}: {error}") from None
            except Exception as error:
                raise BrokenExampleError(f"{name}:{block.line}: {type(error).__name__}: {error}") from error
    lines = text.split("\n")
    for first, number, new in reversed(edits):
        lines[first - 1 : first - 1 + number] = new
    return "\n".join(lines)


def _play(
    session: Session,
    block: Block,
    place: str,
    printed: list[str],
    edits: list[tuple[int, int, list[str]]],
    *,
    anew: bool,
) -> list[str]:
    if block.word == "write":
        session.write(block.value, block.text)
    elif block.word == "output":
        if not agree(block.text.split("\n"), printed):
            edits.append((block.line, block.count, [block.indent + one for one in printed]))
    elif block.language == "diff":
        session.edit(block.text)
    elif block.language == "python":
        return session.execute(block.text, place)
    elif block.language == "toml":
        session.settings(block.text)
    elif block.language == "console":
        for call in calls_of(block):
            code, said = session.run(call.command)
            told = call.shown or said
            refused = any(one.startswith("error: ") or " failed in " in one for one in told)
            if code and not refused:
                raise BrokenExampleError(f"$ {call.command}\nexit code {code}\n" + "\n".join(said))
            found = renewed(call.shown, said)
            if found is None or anew:
                first = call.line + call.command.count("\n") + 1
                new = said if found is None else found
                edits.append((first, len(call.shown), [(block.indent + one).rstrip() for one in new]))
    return printed


def _plain_words(command: str) -> list[str]:
    """The words of a command that needs no shell; empty if it does."""
    if "$" in command or "`" in command:
        return []
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    return [] if any(set(word) <= set("();<>|&") for word in words) else words


@contextlib.contextmanager
def _restored_process() -> Iterator[None]:
    """Leaves environment, working folder, import path and modules as they were."""
    environ: Mapping[str, str] = dict(os.environ)
    folder, path, modules = Path.cwd(), list(sys.path), set(sys.modules)
    try:
        yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        sys.path[:] = path
        scratch = f"{os.path.realpath(tempfile.gettempdir())}/docs-"
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(scratch):
                del sys.modules[name]
