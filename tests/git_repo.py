"""A real git repository for tests, apart from the fixtures so that test files can name it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


class GitRepo:
    """A real repository for a test, on branch ``main``. Each command is a minute later than the one before.

    Attributes:
        path: The working folder.
    """

    def __init__(self, path: Path, *, start: int = 1_700_000_000) -> None:
        self.path = path
        self._clock = start

    def git(self, *arguments: str, check: bool = True) -> str:
        """Runs git in the working folder and returns what it printed, without the last line break."""
        self._clock += 60
        date = f"{self._clock} +0000"
        environment = {
            **os.environ,
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_DATE": date,
            "GIT_EDITOR": "true",
        }
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env=environment, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"git {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout.rstrip("\n")

    def write(self, files: Mapping[str, str | bytes | None]) -> None:
        """Writes files by their path inside the repository; None deletes one."""
        for name, content in files.items():
            target = self.path / name
            if content is None:
                target.unlink()
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, files: Mapping[str, str | bytes | None] | None = None, message: str = "Change") -> str:
        """Writes the files, commits everything that has changed (or nothing) and returns the commit's hash."""
        self.write(files or {})
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.head

    def branch(self, name: str, at: str = "HEAD") -> None:
        """Opens a branch and switches to it."""
        self.git("switch", "-q", "-c", name, at)

    def switch(self, name: str) -> None:
        """Switches to a branch."""
        self.git("switch", "-q", name)

    def squash(self, name: str) -> str:
        """Squash-merges a branch into the present one and returns the new commit."""
        self.git("merge", "-q", "--squash", name)
        self.git("commit", "-q", "-m", f"Squash {name}")
        return self.head

    @property
    def head(self) -> str:
        """The hash of the present commit."""
        return self.git("rev-parse", "HEAD")
