"""Plays the whole story on real flights: a branch, its sandbox, a promotion, a second branch, a rollback, a clean-up.

Everything happens in a scratch folder, in a real git repository, through the real command line; each claim that is
printed is checked before the next one, and the demo fails where one does not hold.

Run: make demo, or python scripts/demo.py [--keep DIR] [--full]
"""

from __future__ import annotations

import argparse
import difflib
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anabranch as ab

WIDTH = 100
BY_DEPARTURE = 'is_late(pl.col("departure_delay"))'
BY_ARRIVAL = 'is_late(pl.col("arrival_delay"))'
ARRIVED_OR_LATE = BY_ARRIVAL + ".fill_null(value=True)"
LAST_DAY_BUT_ONE, LAST_DAY = "2013-12-30", "2013-12-31"
QUARTER = {
    "flights/sources.py": [('ab.daily("2013-01-01"', 'ab.daily("2013-10-01"')],
    "flights/checks.py": [
        ("minimum=300_000", "minimum=80_000"),
        ("minimum=360", "minimum=90"),
        ('weather, at_most="0.5%"', 'weather, at_most="2%"'),
    ],
}
"""Edits by which the example takes the last quarter of its year: the story is the same, and nobody waits for it."""
ODOMETERS = """
    select
        (select sum(miles) from odometers),
        (select sum(distance) from clean_flights where not cancelled and tailnum is not null)
"""


class BrokenPromiseError(Exception):
    """Something that the demo claims does not hold."""


class Stage:
    """A scratch folder with the example project in it, and words for what is done there.

    Args:
        folder: Where the project will be.
        full: Whether output is printed whole.
    """

    def __init__(self, folder: Path, *, full: bool) -> None:
        self.folder = folder
        self.full = full
        self.colored = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "ANABRANCH_"))}
        # Whoever plays this may sign commits or have hooks; the story shall not depend on it.
        self.environ |= {
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        }
        for role in ("AUTHOR", "COMMITTER"):
            self.environ |= {f"GIT_{role}_NAME": "Ada Lovelace", f"GIT_{role}_EMAIL": "ada@example.com"}
        self.program = shutil.which("anabranch", path=self.environ["PATH"]) or sys.exit(
            "the command anabranch is not installed: make setup"
        )

    # telling

    def say(self, text: str, style: str = "") -> None:
        """Prints a paragraph."""
        for line in textwrap.wrap(text, WIDTH) or [""]:
            print(f"\x1b[{style}m{line}\x1b[0m" if self.colored and style else line)
        sys.stdout.flush()

    def chapter(self, number: int, title: str) -> None:
        """Prints a headline."""
        print()
        self.say(f"{number}. {title}", "1")

    def command(self, text: str) -> None:
        """Prints what is done now."""
        print(f"\x1b[36m  {text}\x1b[0m" if self.colored else f"  {text}", flush=True)

    def output(self, text: str, lines: int) -> None:
        """Prints the beginning of what a command said."""
        said = [line.rstrip() for line in text.splitlines() if line.strip()]
        kept = said if self.full or len(said) <= lines + 1 else said[:lines]
        for line in kept:
            whole = self.full or line.startswith(("error: ", "hint: "))
            for part in textwrap.wrap(line, WIDTH, subsequent_indent="  ") if whole else [line]:
                print(f"    {part if whole or len(part) <= WIDTH else part[: WIDTH - 1] + '…'}")
        if len(kept) < len(said):
            print(f"    … {len(said) - len(kept)} more lines")
        sys.stdout.flush()

    # doing

    def anabranch(self, *words: str, lines: int = 8, code: int = 0, expect: Iterable[str] = ()) -> str:
        """Runs the command line, shows it, and holds it to its exit code and to words that it has to say."""
        self.command("$ anabranch " + " ".join(f'"{w}"' if " " in w else w for w in words))
        done = self._call(self.program, *words)
        output = done.stdout or done.stderr
        self.output(output, lines)
        promise(done.returncode == code, f"exit code {done.returncode}, not {code}: {done.stderr}")
        for text in expect:
            promise(text in output, f"`anabranch {words[0]}` does not say {text!r} but:\n{output}")
        return output

    def git(self, *words: str) -> None:
        """Runs git and shows the command."""
        self.command("$ git " + " ".join(f'"{w}"' if " " in w else w for w in words))
        done = self._call("git", *words)
        promise(done.returncode == 0, f"git {' '.join(words)}: {done.stdout}{done.stderr}")

    def edit(self, file: str, old: str, new: str) -> None:
        """Changes one place of one file, and shows it as a diff does."""
        path = self.folder / file
        text = path.read_text()
        promise(text.count(old) == 1, f"{old!r} is not once in {file}")
        changed = text.replace(old, new)
        path.write_text(changed)
        self.command(f"edit {file}")
        for line in difflib.unified_diff(text.splitlines(), changed.splitlines(), n=0, lineterm=""):
            if not line.startswith(("---", "+++")):
                print(f"    {line}")

    def _call(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder if self.folder.exists() else self.folder.parent,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    # knowing

    def read(self, look: Callable[[ab.Project], Any]) -> Any:
        """What the Python API says: a second door to the same catalog."""
        project = ab.Project(self.folder)
        try:
            return look(project)
        finally:
            project.close()

    def state(self, ref: str) -> dict[str, tuple[str, str]]:
        """Each table's content version and the place of its files, at a ref."""
        return self.read(lambda project: {k: (e.version, e.location) for k, e in project.tables(ref).items()})

    def days(self, key: str) -> dict[str, tuple[str, str]]:
        """What each day of a table holds in production, and what made it."""
        return self.read(
            lambda project: {
                day.key: (day.version, day.making)
                for day in project.table(key, at="production").partition_map.states()
            }
        )

    def head(self) -> int:
        """The number of production's newest commit."""
        return int(self.read(lambda project: project.log("production", limit=1).commits[0].number))

    def to_run(self) -> set[str]:
        """The assets that a plan wants to run."""
        steps = self.read(lambda project: project.plan().steps)
        return {key for key, step in steps.items() if step.action == "run"}

    def bytes_and_files(self) -> tuple[int, int]:
        """Size of the warehouse."""
        walk = os.walk(self.folder / ".anabranch" / "warehouse")
        sizes = [Path(folder, name).stat().st_size for folder, _, names in walk for name in names]
        return sum(sizes), len(sizes)


def promise(held: bool, what: str) -> None:
    """Ends the demo where a claim does not hold."""
    if not held:
        raise BrokenPromiseError(what)


def build_production(stage: Stage) -> None:
    stage.chapter(1, "A project")
    stage.say("Five tables as delivered, ten assets made of them, and 24 checks; Python and SQL.")
    stage.anabranch("init", "--example", "flights", str(stage.folder), lines=3, expect=["anabranch run"])
    stage.say("It has all flights of 2013. The last quarter will do for this story.")
    for file, edits in QUARTER.items():
        for old, new in edits:
            stage.edit(file, old, new)
    stage.git("commit", "-q", "-a", "-m", "Take the last quarter")
    stage.anabranch("status", expect=["production, never built"])

    stage.chapter(2, "On main, a run builds production")
    stage.say("Three tables are cut by day. Say which days: the last one of the year is yet to come.")
    stage.anabranch(
        "run", "--partitions", f"..{LAST_DAY_BUT_ONE}", lines=10, expect=["production@1", "91 partitions"]
    )
    promise(stage.head() == 1 and len(stage.state("production")) == 15, "production holds 15 tables")
    stage.anabranch(
        "sql",
        "select carrier, name, flights, late_percent from carrier_stats order by late_percent desc limit 3",
    )


def take_a_new_day(stage: Stage) -> None:
    stage.chapter(3, "A new day")
    before = stage.days("clean_flights")
    stage.anabranch("plan", lines=4, expect=[f"never built: {LAST_DAY}", "incremental: clean_flights since"])
    stage.anabranch("run", lines=10, expect=["production@2", "1 partition"])
    now = stage.days("clean_flights")
    promise(len(now) == len(before) + 1 and now.items() >= before.items(), "no other day was made again")
    [(added, again)] = stage.read(lambda project: project.sql(ODOMETERS, at="production").fetchall())
    promise(added == again, "the running totals are what counting all flights again gives")
    stage.say("One day was computed of 92, and added to each plane's odometer; the totals are exact.", "32")


def work_on_a_branch(stage: Stage) -> None:
    stage.chapter(4, "A branch is a sandbox")
    before = stage.state("production")
    size, _ = stage.bytes_and_files()
    stage.git("switch", "-q", "-c", "fix-delays")
    stage.say("A flight is late when it arrives late, but the asset delays judges by the departure.")
    stage.edit("flights/assets.py", BY_DEPARTURE, BY_ARRIVAL)
    stage.anabranch("status", expect=["delays"])
    stage.anabranch(
        "plan", lines=9, expect=["function flights.assets.delays changed: 92 partitions (flights/assets.py:"]
    )
    promise(stage.to_run() == {"delays"}, "the plan runs delays and what depends on it")

    stage.say(
        "December will do for a first look. A check stops the run: some flights were diverted, and never arrived."
    )
    stage.anabranch(
        "run",
        "--partitions",
        "2013-12-01..2013-12-31",
        lines=14,
        code=1,
        expect=["31 partitions", "of 82,"],
    )
    stage.say("They are late too.")
    stage.edit("flights/assets.py", BY_ARRIVAL, ARRIVED_OR_LATE)
    stage.anabranch("run", lines=10, expect=["succeeded"])

    stage.say("A comment is no code. The plan has nothing to run.")
    stage.edit("flights/assets.py", "# Joined by the hour in UTC:", "# Matched by the hour in UTC:")
    stage.anabranch("plan", lines=4)
    promise(not stage.to_run(), "an edit of a comment runs nothing")
    stage.anabranch("diff", lines=16, expect=["delays"])
    stage.anabranch("check", lines=4)
    promise(stage.state("production") == before, "production is as it was")
    added = stage.bytes_and_files()[0] - size
    stage.say(
        f"Production is as it was. The sandbox has added {added / 1e6:.1f} MB to {size / 1e6:.1f} MB; nothing was copied.",
        "32",
    )
    stage.git("commit", "-q", "-a", "-m", "Judge delays at arrival")


def work_on_another(stage: Stage) -> None:
    stage.chapter(5, "Meanwhile, somebody else opens a branch of what production is now")
    stage.git("switch", "-q", "-c", "routes", "main")
    stage.say("It changes another asset, one that reads delays.")
    stage.edit(
        "flights/assets.py",
        "        airports.name as destination,\n        count(*) as flights,\n",
        "        airports.name as destination,\n        count(*) as flights,\n        median(departure_delay) as median_delay,\n",
    )
    stage.anabranch("run", lines=3, expect=["route_stats"])
    stage.git("commit", "-q", "-a", "-m", "Tell the median delay of a route")


def promote_data_first(stage: Stage) -> None:
    stage.chapter(6, "Promote: the very tables that were tested, in one commit")
    stage.git("switch", "-q", "fix-delays")
    tested, files = stage.state("fix-delays"), stage.bytes_and_files()
    stage.anabranch("promote", "--dry-run", lines=12)
    stage.anabranch("promote", "--yes", lines=4, expect=["production@3"])
    promise(stage.state("production") == tested, "production is exactly what was tested, file by file")
    promise(stage.head() == 3, "it is one commit")
    promise(stage.bytes_and_files() == files, "nothing was computed or written again")
    stage.say("Production is exactly what was tested, file by file; nothing was computed.", "32")
    stage.git("switch", "-q", "main")
    stage.git("merge", "-q", "fix-delays")
    stage.anabranch("run", lines=4)
    promise(stage.head() == 3, "after the merge there is nothing to do")


def promote_code_first(stage: Stage) -> None:
    stage.chapter(7, "The other order: the code is merged first, squashed, and the data follows")
    stage.git("switch", "-q", "-c", "bad-days")
    stage.edit("flights/assets.py", "departure_delay: float = 40.0", "departure_delay: float = 30.0")
    stage.anabranch("plan", lines=3, expect=["bad_days"])
    stage.anabranch("run", lines=3, expect=["bad_days"])
    stage.git("commit", "-q", "-a", "-m", "Count days with a delay of 30 minutes")
    tested = stage.state("bad-days")
    stage.git("switch", "-q", "main")
    stage.git("merge", "-q", "--squash", "bad-days")
    stage.git("commit", "-q", "-m", "Count days with a delay of 30 minutes (#2)")
    files = stage.bytes_and_files()
    stage.anabranch("promote", "bad-days", "--yes", lines=8, expect=["production@4"])
    promise(stage.state("production") == tested, "production is what was tested")
    promise(stage.bytes_and_files() == files, "nothing was computed again")
    stage.say("What was tested was adopted; nothing was computed.", "32")


def land_the_stale_branch(stage: Stage) -> None:
    stage.chapter(8, "The branch that was opened before: stale, and told what to do")
    stage.git("switch", "-q", "routes")
    before = stage.state("production")
    stage.anabranch("promote", "--yes", code=3, lines=6, expect=["stale", "git merge main"])
    promise(stage.state("production") == before, "nothing was published")
    stage.git("merge", "-q", "--no-edit", "main")
    stage.anabranch("sandbox", "sync", lines=6)
    stage.anabranch("plan", lines=4)
    promise(stage.to_run() == {"route_stats"}, "only what the new base makes necessary runs")
    stage.anabranch("run", lines=3, expect=["route_stats"])
    tested = stage.state("routes")
    stage.anabranch("promote", "--yes", lines=6, expect=["production@5"])
    now = stage.state("production")
    changed = {key for key in now if now[key] != before.get(key)}
    promise(
        now == tested and changed == {"route_stats"}, "route_stats has landed, and nothing else has changed"
    )
    stage.say("Both branches have landed; neither undid the other.", "32")
    stage.git("switch", "-q", "main")
    stage.git("merge", "-q", "--no-edit", "routes")


def look_back(stage: Stage) -> None:
    stage.chapter(9, "History, and the way back")
    stage.anabranch("log", lines=8, expect=["production@5"])
    stage.anabranch("show", "production@3", lines=10)
    earlier = stage.state("production@4")
    stage.anabranch("rollback", "--yes", lines=6, expect=["production@6"])
    promise(stage.state("production") == earlier, "production is back where it was")
    promise(stage.head() == 6, "the rollback is one commit")
    stage.say("Production is back, in one commit. A scheduled run can't bring the mistake back:", "32")
    stage.anabranch("run", code=3, lines=4)
    question = "select count(*) as late_flights from delays where late"
    stage.say("Every state stays readable: the number of late flights before and after the fix.")
    stage.anabranch("sql", question, "--at", "production@2")
    stage.anabranch("sql", question, "--at", "production@3")


def clean_up(stage: Stage) -> None:
    stage.chapter(10, "Clean up")
    stage.anabranch("sandbox", "list", lines=6)
    for name in ("fix-delays", "routes", "bad-days"):
        stage.anabranch("sandbox", "close", name, "--yes", lines=2)
    refs = [f"production@{number}" for number in range(1, stage.head() + 1)]
    size, files = stage.bytes_and_files()
    before = {ref: stage.state(ref) for ref in refs}
    stage.anabranch("gc", "--dry-run", "--grace", "0s", lines=6)
    promise(stage.bytes_and_files() == (size, files), "a dry run removes nothing")
    stage.anabranch("gc", "--yes", "--grace", "0s", lines=6)
    size_after, files_after = stage.bytes_and_files()
    promise(files_after < files, "gc has freed what nobody needs")
    promise({ref: stage.state(ref) for ref in refs} == before, "no state of production is lost")
    rows = stage.read(read_everything)
    stage.say(
        f"{files - files_after} files and {(size - size_after) / 1e6:.1f} MB are gone; all six states of production"
        f" were read to the last of their {rows:,} rows, and each table's content is that of its version.",
        "32",
    )


def read_everything(project: ab.Project) -> int:
    """Reads every table of every state of production whole, and compares its content with its version.

    Returns:
        Number of rows read.
    """
    from anabranch.lake.version import content_of

    seen: dict[str, int] = {}
    for commit in project.log("production", limit=100).commits:
        for key, entry in project.tables(commit.ref).items():
            if entry.kind == "file":
                promise(bool(project.file(key, at=commit.ref).read_bytes()), f"{key} can be read")
            elif entry.location not in seen:
                table = project.table(key, at=commit.ref).to_arrow()
                promise(str(content_of(table)) == entry.version, f"{key} at {commit.ref} is what it was")
                seen[entry.location] = table.num_rows
    return sum(seen.values())


STORY = (
    build_production,
    take_a_new_day,
    work_on_a_branch,
    work_on_another,
    promote_data_first,
    promote_code_first,
    land_the_stale_branch,
    look_back,
    clean_up,
)


def main() -> int:
    """Plays the story. Returns the exit code."""
    parser = argparse.ArgumentParser(description="The whole story of anabranch, on real flights.")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="play in this new folder, and leave it")
    parser.add_argument("--full", action="store_true", help="print all that the commands say")
    options = parser.parse_args()
    if options.keep is not None and options.keep.exists():
        parser.error(f"{options.keep} exists already")
    scratch = Path(tempfile.mkdtemp(prefix="anabranch-demo-")) if options.keep is None else None
    folder = options.keep.resolve() if options.keep is not None else scratch / "flights"
    started = time.monotonic()
    stage = Stage(folder, full=options.full)
    try:
        for act in STORY:
            act(stage)
    except BrokenPromiseError as broken:
        print(f"\nTHE DEMO FAILED: {broken}", file=sys.stderr)
        return 1
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    print()
    stage.say(f"Everything held, in {time.monotonic() - started:.0f} s.", "1")
    stage.say("Next, with a project of your own to play with:")
    if shutil.which("anabranch") is None:
        stage.command(f". {os.path.relpath(Path(sys.executable).parent / 'activate')}")
    for line in (
        "anabranch init --example flights my-flights",
        "cd my-flights && anabranch run",
        "less README.md",
    ):
        print(f"  {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
