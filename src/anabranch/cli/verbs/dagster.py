"""`dagster dev | deliver`: Dagster's web UI in the sandbox at hand; what was published, to where a project also keeps it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec

import click

from anabranch.cli.app import Commands
from anabranch.cli.face import Face, Reply
from anabranch.cli.verb import CONTEXT, pass_face, shared_options, verb
from anabranch.errors import AnabranchError

DEV = {
    "url": "where the web UI was",
    "target": "the environment or sandbox that it was for",
    "code": "its exit code",
}
DELIVER = {
    "environment": "the environment",
    "delivered": "assets that were handed to where the project also keeps them",
}
_SERVED = "anabranch.adapters.dagster.served"


@click.group(
    "dagster",
    cls=Commands,
    params=[*shared_options()],
    context_settings=CONTEXT,
    no_args_is_help=True,
    subcommand_metavar="COMMAND …",
)
def dagster() -> None:
    """Dagster's web UI on the branch at hand; what was published, to where a Dagster project also keeps it."""


@verb("dev", shape=DEV)
@click.option("-p", "--port", type=int, default=3000, show_default=True, help="The port of the web UI.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address it listens on.")
@pass_face
def dev(face: Face, port: int, host: str) -> Reply:
    """Start Dagster's web UI on the environment or sandbox at hand; Ctrl-C ends it.

    What is materialised there is a run of anabranch on that branch. Schedules and sensors are off.
    """
    from anabranch.report.lines import hint, key, line

    missing = [name for name in ("dagster", "dagster_webserver") if find_spec(name) is None]
    if missing:
        raise AnabranchError(
            f"{missing[0]} is not installed here", hint="pip install 'anabranch[dagster]' dagster-webserver"
        )
    project = face.project()
    where = project.context.require()
    home = project.context.folder / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        # Nothing is told to anybody unless the user says so.
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    url = f"http://{host}:{port}"
    face.err([line("Dagster's web UI for ", key(where.name or ""), " at ", key(url)), hint("Ctrl-C ends it")])
    root = project.context.root
    project.close()
    environ = {**os.environ, "DAGSTER_HOME": str(home), "ANABRANCH_SERVED": str(root)}
    process = subprocess.Popen(
        [sys.executable, "-m", "dagster", "dev", "-m", _SERVED, "-p", str(port), "-h", host],
        cwd=root,
        env=environ,
        stdout=sys.stderr,
        start_new_session=True,  # Ctrl-C reaches it once, from us
    )
    try:
        code = process.wait()
    except KeyboardInterrupt:
        code = 0
    finally:
        _end(process)
    told = {"url": url, "target": where.name, "code": code}
    return Reply(told, lambda: [line("it has ended")], code=0 if code == 0 else 1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and all that it has started, softly at first."""
    process.send_signal(signal.SIGINT)
    for patience, more in ((20, signal.SIGTERM), (5, signal.SIGKILL)):
        try:
            process.wait(patience)
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, more)
    process.wait()
    with suppress(ProcessLookupError):  # its servers, if it went without them
        os.killpg(process.pid, signal.SIGKILL)


@verb("deliver", shape=DELIVER)
@click.argument("environment", required=False, metavar="[ENVIRONMENT]")
@pass_face
def deliver(face: Face, environment: str | None) -> Reply:
    """Hand what an environment has published to where its Dagster project also keeps its tables.

    Each run, promotion and rollback does that; this makes up for one that failed. What is there already is left alone.
    """
    from anabranch.report.lines import key, line, listed

    project = face.project()
    name = environment or project.context.require().environment
    with face.working("delivering"):
        done = project.deliver(environment)
    told = {"environment": name, "delivered": list(done)}
    words = line("delivered ", key(listed(done, 12))) if done else line("there is nothing to deliver")
    return Reply(told, lambda: [words])


dagster.add_command(dev)
dagster.add_command(deliver)
