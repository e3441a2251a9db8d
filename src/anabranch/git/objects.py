"""Commits and trees by name: which exist, which one contains which, and what can't be told.

Names come from outside (branches, the catalog, a command line): they go to git over standard input, so that none can
become an option. It knows nothing of working folders.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from anabranch.errors import GitError, UndeterminedError
from anabranch.git.process import call

_FULL = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def is_full_hash(text: str) -> bool:
    """Whether text is a full hash, which git never takes for anything else."""
    return _FULL.fullmatch(text) is not None


def is_askable(name: str) -> bool:
    """Whether a name may go to git as a line of its own."""
    try:
        return _CONTROL.search(name) is None and bool(os.fsencode(name))
    except UnicodeEncodeError:
        return False


def is_git_branch_name(name: str) -> bool:
    """Whether git takes the name for a branch, by the rules of ``git check-ref-format --branch``."""
    return (
        name != "HEAD"
        and is_askable(name)
        and not name.startswith("-")
        and not name.endswith((".", "/"))
        and not re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//", name)
        and not any(part.startswith(".") or part.endswith(".lock") or not part for part in name.split("/"))
    )


class Objects:
    """The commits of a repository, as seen from one of its worktrees: the base of `Repository`.

    Attributes:
        root: The top folder of this worktree, with symbolic links resolved.
        git_dir: This worktree's own git folder (``.git``, or ``.git/worktrees/<name>``).
        common_dir: The git folder that all worktrees share.
    """

    def __init__(self, root: Path, git_dir: Path, common_dir: Path) -> None:
        self.root = root
        self.git_dir = git_dir
        self.common_dir = common_dir

    @property
    def is_shallow(self) -> bool:
        """Whether history was cut off when the repository was cloned. No call of git."""
        return bool(self._shallow_commits())

    def exists(self, commit: str) -> bool:
        """Whether the commit is in this clone. Takes a hash or any name of a commit."""
        return self.look_up([f"{commit}^{{commit}}"])[0] is not None

    def resolve(self, name: str) -> str:
        """The full hash of the commit that a name means: a hash, a branch, a tag, ``HEAD``.

        Raises:
            UndeterminedError: there is none, but history is shallow.
            GitError: there is none.
        """
        found = self.look_up([f"{name}^{{commit}}"])[0]
        return found if found is not None else self.missing(name)

    def merge_base(self, a: str, b: str) -> str | None:
        """The best common ancestor of two commits, or None where their histories are unrelated."""
        done = call(self.root, "merge-base", *self.resolve_all(a, b), ok=(0, 1))
        return done.stdout.decode().strip() or None

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Whether a commit is another one or an ancestor of it.

        A commit that is not in a complete clone can't be an ancestor of one that is: False.

        Raises:
            UndeterminedError: history is shallow, and the answer lies beyond its edge.
            GitError: the descendant does not exist.
        """
        (head,) = self.resolve_all(descendant)
        found = ancestor if is_full_hash(ancestor) else self.look_up([f"{ancestor}^{{commit}}"])[0]
        question = ("merge-base", "--is-ancestor", found or ancestor, head)
        if found is not None:
            done = call(self.root, *question, ok=(0, 1, 128))
            if done.returncode == 0:
                return True
            if done.returncode == 1:
                self.check_edge(found, head)
                return False
        if not self.is_absent(found or ancestor, head):
            call(self.root, *question)
        return False

    def diff_names(self, a: str, b: str, paths: Sequence[str | Path] = ()) -> tuple[str, ...]:
        """The files that differ between two commits, relative to the root, sorted; a renamed one under both names."""
        first, second = self.resolve_all(a, b)
        flags = ("-r", "--name-only", "-z", "--no-renames")
        done = call(self.root, "diff-tree", *flags, first, second, "--", *self.inside(paths))
        return tuple(sorted(set(os.fsdecode(done.stdout).split("\0")) - {""}))

    # what the files of this package share

    def inside(self, paths: Sequence[str | Path]) -> list[str]:
        """Paths relative to the root; none where one of them is the root itself, for then nothing is left out."""
        found = []
        for given in paths:
            path = Path(given)
            if path.is_absolute():
                # A link inside the repository is a file of its own; one that leads into it is followed.
                own = Path(os.path.realpath(path.parent)) / path.name
                real = own if own.is_relative_to(self.root) else Path(os.path.realpath(path))
                path = Path(os.path.relpath(real, self.root))
            clean = posixpath.normpath(path.as_posix())
            if clean == ".." or clean.startswith(("../", "/")):
                raise GitError(f"{given} lies outside of the repository {self.root}")
            found.append(clean)
        return [] if "." in found else found

    def history(self, head: str, without: str, *arguments: str) -> dict[str, str]:
        """Commit → tree, newest first, of what the one has and the other has not."""
        out = call(self.root, "rev-list", "--format=%H %T", head, f"^{without}", *arguments).stdout.decode()
        return dict(line.split(" ", 1) for line in out.splitlines() if not line.startswith("commit "))

    def look_up(self, names: Sequence[str], extra: Mapping[str, str] | None = None) -> list[str | None]:
        """The full hash of each object, None for what is not there or not one thing; one call of git."""
        asked = [name for name in names if is_askable(name)]
        found: dict[str, str | None] = {}
        if asked:
            stdin = b"".join(os.fsencode(f"{name}\n") for name in asked)
            no_fetch = {"GIT_NO_LAZY_FETCH": "1", **(extra or {})}  # a partial clone would ask its remote
            out = call(self.root, "cat-file", "--batch-check", stdin=stdin, extra=no_fetch).stdout
            for name, line in zip(asked, out.splitlines(), strict=True):
                match = re.fullmatch(rb"([0-9a-f]{40,64}) [a-z]+ \d+", line)
                found[name] = match[1].decode() if match else None
        return [found.get(name) for name in names]

    def resolve_all(self, *names: str) -> list[str]:
        """Full hashes. A full hash is taken at its word: the command that follows finds out whether it exists."""
        rest = [name for name in names if not is_full_hash(name)]
        looked = dict(zip(rest, self.look_up([f"{name}^{{commit}}" for name in rest]), strict=True))
        return [looked.get(name, name) or self.missing(name) for name in names]

    def missing(self, name: str) -> NoReturn:
        """Raises that git knows no such commit."""
        if self.is_shallow:
            raise UndeterminedError(f"git knows no commit {name!r} in this shallow clone", hint=_DEEPEN)
        raise GitError(
            f"git knows no commit {name!r}",
            hint="`git fetch` it, or look at the names with `git branch --all`",
        )

    def is_absent(self, commit: str, head: str) -> bool:
        """Whether a complete clone that has the head lacks the commit. Raises where more than that is wrong."""
        there, head_there = self.look_up([f"{commit}^{{commit}}", f"{head}^{{commit}}"])
        if head_there is None:
            self.missing(head)
        if there is None and self.is_shallow:
            raise _undetermined(commit, head)
        return there is None

    def check_edge(self, commit: str, head: str) -> None:
        """Raises where the head's history is cut off before it could have met the commit."""
        cut = self._shallow_commits()
        if cut and cut & set(self.history(head, commit)):
            raise _undetermined(commit, head)

    def _shallow_commits(self) -> set[str]:
        try:
            return set((self.common_dir / "shallow").read_text(encoding="ascii").split())
        except FileNotFoundError:
            return set()


_DEEPEN = "fetch the whole history: `git fetch --unshallow` (in GitHub Actions: `fetch-depth: 0`)"


def _undetermined(commit: str, head: str) -> UndeterminedError:
    return UndeterminedError(
        f"whether {head[:12]} contains the code of {commit[:12]} can't be told from a shallow clone",
        hint=_DEEPEN,
    )
