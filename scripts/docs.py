"""Keeps the documentation true: makes the reference pages from the code, and plays every example again.

python scripts/docs.py            writes what is out of date
python scripts/docs.py --check    writes nothing, and fails where something is out of date
python scripts/docs.py --pages    the generated pages only, which takes a few seconds
python scripts/docs.py --anew     writes every output as it is now, also where only times and the like differ
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))

from docs_reference import cli_page, errors_page, json_page, python_page, settings_page  # noqa: E402
from docs_session import BrokenExampleError, Session, played  # noqa: E402

WITH_WORKERS = {"README.md", "docs/guides/dagster.md"}
"""Pages whose steps run in processes of their own, as a user's do."""


def generated() -> dict[str, Callable[[], str]]:
    """Path of each page that is made from the code → what makes it."""
    return {
        "docs/reference/cli.md": cli_page,
        "docs/reference/python.md": python_page,
        "docs/reference/settings.md": settings_page,
        "docs/reference/errors.md": errors_page,
        "docs/reference/json.md": lambda: json_page(samples().get),
    }


def written() -> list[str]:
    """Paths of the pages that are written by hand."""
    pages = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
    top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
    return [page for page in [*top, *pages] if page not in generated()]


def samples() -> dict[str, Any]:
    """Command → a real document that its ``--json`` printed, from a small project that is played through."""
    found: dict[str, Any] = {}
    with Session() as session:

        def say(command: str) -> list[str]:
            code, lines = session.run(command)
            if code:
                raise BrokenExampleError(f"$ {command}\n" + "\n".join(lines))
            return lines

        def keep(command: str, name: str | None = None) -> None:
            document = "\n".join(say(f"anabranch {command} --json"))
            # What is told beside the document stands on stderr, which the session does not keep apart.
            found[name or command.split(" ", maxsplit=1)[0]] = json.loads(document[document.index("{\n") :])

        keep("init shop")
        say("cd shop")
        say("anabranch run")
        say("git switch -q -c warmer")
        keep("sandbox open", "sandbox open")
        say("sed -i s/31.0/33.0/ pipeline/definitions.py")
        keep("plan")
        keep("run")
        keep("status")
        keep("check")
        keep("diff")
        keep("sql 'from averages order by city'")
        keep("show averages")
        keep("sandbox list", "sandbox list")
        say("git commit -q -am Warmer")
        keep("sandbox sync --dry-run", "sandbox sync")
        keep("approve")
        keep("promote --yes")
        keep("sandbox close --yes", "sandbox close")
        keep("log production")
        keep("tag before production@1")
        keep("gc --dry-run")
        keep("version")
        say("git switch -q main")
        say("git merge -q warmer")
        keep("rollback --yes")
    return found


def stale(*, examples: bool, anew: bool = False) -> Iterator[tuple[str, str, str]]:
    """Pages that are out of date: path, present text, text as it should be."""
    for page, make in generated().items():
        file = ROOT / page
        present, wanted = file.read_text() if file.exists() else "", make()
        if present != wanted:
            yield page, present, wanted
    if not examples:
        return
    for page in written():
        present = (ROOT / page).read_text()
        wanted = played(present, page, workers=page in WITH_WORKERS, anew=anew)
        if present != wanted:
            yield page, present, wanted


def main() -> int:
    """Runs the script; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where something is out of date"
    )
    parser.add_argument("--pages", action="store_true", help="only the pages that are made from the code")
    parser.add_argument(
        "--anew", action="store_true", help="write also what differs in times, ids and sizes alone"
    )
    options = parser.parse_args()
    code = 0
    try:
        for page, present, wanted in stale(examples=not options.pages, anew=options.anew):
            if options.check:
                code = 1
                print(f"{page} is out of date: python scripts/docs.py", file=sys.stderr)
                sys.stderr.writelines(
                    f"  {line}\n"
                    for line in [
                        *difflib.unified_diff(present.splitlines(), wanted.splitlines(), n=1, lineterm="")
                    ][2:40]
                )
            else:
                (ROOT / page).parent.mkdir(parents=True, exist_ok=True)
                (ROOT / page).write_text(wanted)
                print(f"wrote {page}")
    except BrokenExampleError as error:
        print(f"an example does not work: {error}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
