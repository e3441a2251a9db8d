"""A worktree: where it is, what is edited in it, which branches and commits there are.

Reads that are needed together are one call. Nothing here writes to the repository or takes a lock.
"""

from __future__ import annotations

import getpass
import os
import posixpath
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from anabranch.dataclass import dataclass
from anabranch.errors import GitError
from anabranch.git.containment import Containment, contains_code
from anabranch.git.objects import Objects, is_askable, is_git_branch_name
from anabranch.git.process import call, refuse

_IDENTITY = re.compile(rb"(?P<who>.*>) (?P<seconds>-?\d+) [+-]\d+")
_RENAMED = re.compile(r"Branch: (renamed|copied) refs/heads/(\S+) to refs/heads/(\S+)")


@dataclass(frozen=True)
class State:
    """Where a worktree is, read at one moment.

    Attributes:
        commit: Full hash of HEAD, or None on a branch that has no commit yet.
        branch: The branch, or None where HEAD is detached.
        dirty: Edited, staged, conflicted, deleted and untracked (not ignored) files, relative to the worktree's root,
            sorted.
        in_progress: ``merge``, ``rebase``, ``am``, ``cherry-pick``, ``revert`` or ``bisect`` if one is under way.
    """

    commit: str | None
    branch: str | None
    dirty: tuple[str, ...] = ()
    in_progress: str | None = None


@dataclass(frozen=True)
class CommitInfo:
    """One git commit.

    Attributes:
        commit: Full hash.
        subject: The first line of its message.
        author: ``Name <mail>``.
        time: When it was committed (UTC).
        tree: Hash of its tree.
        parents: Full hashes; none for a root.
    """

    commit: str
    subject: str
    author: str
    time: datetime
    tree: str
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Worktree:
    """A working folder of a repository: its path, its commit (None: unborn or bare), its branch (None: detached)."""

    path: Path
    commit: str | None
    branch: str | None
    bare: bool = False


class Repository(Objects):
    """A git worktree, and through it its repository. Cheap to make and to keep; nothing is remembered but where it is.

    Its folders, and what is asked about commits alone, are those of `Objects`.
    """

    def __repr__(self) -> str:
        return f"Repository({str(self.root)!r})"

    @classmethod
    def find(cls, path: Path) -> Repository:
        """The repository that a folder or a file lies in. One call of git.

        Raises:
            GitError: no repository, a bare one, one of another user, or no git.
        """
        folder = path if path.is_dir() else path.parent
        if not folder.is_dir():
            raise GitError(f"there is no folder {folder}")
        try:
            done = call(folder, "rev-parse", "--show-toplevel", "--absolute-git-dir", "--git-common-dir")
        except GitError as error:
            said = str(error.facts.get("stderr", ""))
            if "not a git repository" in said:
                raise GitError(
                    f"{folder} is not inside a git repository",
                    hint="make one with `git init`, or go to the project's folder",
                ) from None
            if "must be run in a work tree" in said:
                raise GitError(
                    f"{folder} belongs to a repository without a working folder here",
                    hint="go to a worktree, or make one with `git worktree add`",
                ) from None
            raise
        lines = os.fsdecode(done.stdout).removesuffix("\n").split("\n")
        if len(lines) != 3:
            raise GitError(
                f"the path of the repository at {folder} holds a line break", hint="rename the folder"
            )
        root, git_dir, common = (Path(os.path.realpath(folder / line)) for line in lines)
        return cls(root, git_dir, common)

    @cached_property
    def main_root(self) -> Path:
        """One folder that all worktrees of the repository agree on: the top of the main worktree.

        A bare repository has none: then it is the folder around it if it is called ``.git`` (``project/.git`` with
        ``project/main``, ``project/feature`` beside it) and the repository's own folder otherwise; so it is for a
        repository made with ``--separate-git-dir``, which does not know where its worktree lies.
        """
        conventional = self.common_dir.name == ".git"
        if conventional and self.git_dir == self.common_dir:
            return self.root
        done = call(self.root, f"--git-dir={self.common_dir}", "config", "--get", "core.worktree", ok=(0, 1))
        if elsewhere := os.fsdecode(done.stdout).removesuffix("\n"):
            return Path(os.path.realpath(self.common_dir / elsewhere))
        return self.common_dir.parent if conventional else self.common_dir

    # where one is

    def state(self, paths: Sequence[str | Path] = ()) -> State:
        """HEAD, branch and edits together, in one call of git.

        Args:
            paths: Files or folders, absolute or relative to ``root``, that edits are looked for in; none for all.

        Raises:
            GitError: a path outside the repository.
        """
        form = ("--porcelain=v2", "--branch", "-z", "--no-ahead-behind")
        listed = ("--untracked-files=all", "--no-renames", "--", *self.inside(paths))
        done = call(self.root, "status", *form, *listed)
        commit: str | None = None
        branch: str | None = None
        dirty: set[str] = set()
        records = iter(os.fsdecode(done.stdout).split("\0"))
        for record in records:
            kind, _, rest = record.partition(" ")
            if kind == "#":
                name, _, value = rest.partition(" ")
                if name == "branch.oid":
                    commit = None if value == "(initial)" else value
                elif name == "branch.head":
                    branch = None if value == "(detached)" else value
            elif kind in {"1", "u"}:
                dirty.add(rest.split(" ", 7 if kind == "1" else 9)[-1])
            elif kind == "2":
                dirty.update((rest.split(" ", 8)[-1], next(records)))
            elif kind == "?":
                dirty.add(rest)
        return State(commit, branch, tuple(sorted(dirty)), self._in_progress())

    def _in_progress(self) -> str | None:
        for mark, name in (
            ("rebase-merge", "rebase"),
            ("rebase-apply/applying", "am"),
            ("rebase-apply", "rebase"),
            ("MERGE_HEAD", "merge"),
            ("CHERRY_PICK_HEAD", "cherry-pick"),
            ("REVERT_HEAD", "revert"),
            ("sequencer", "cherry-pick"),
            ("BISECT_LOG", "bisect"),
        ):
            if (self.git_dir / mark).exists():
                return name
        return None

    def branches(self, *, remote: bool = False) -> dict[str, str]:
        """Branch → full hash of its commit: the local ones, or the remote-tracking ones (``origin/main``)."""
        folder = "refs/remotes/" if remote else "refs/heads/"
        form = "--format=%(objectname) %(symref) %(refname)"
        found: dict[str, str] = {}
        for line in os.fsdecode(call(self.root, "for-each-ref", form, folder).stdout).split("\n")[:-1]:
            commit, symbolic, name = line.split(" ", 2)
            if not (remote and symbolic):  # origin/HEAD is no branch
                found[name.removeprefix(folder)] = commit
        return found

    def branch_exists(self, name: str) -> bool:
        """Whether there is a local branch of that name."""
        if not is_git_branch_name(name):
            return False
        done = call(self.root, "show-ref", "--verify", "--quiet", f"refs/heads/{name}", ok=(0, 1))
        return done.returncode == 0

    def renamed_from(self, branch: str) -> list[str]:
        """Earlier names of a local branch, newest first, as far as its reflog remembers; empty if it has none.

        What was copied from another branch (``git branch -c``) or made anew under an old name has no earlier names.
        """
        if not self.branch_exists(branch):
            return []
        done = call(self.root, "log", "-g", "--format=%gs", f"refs/heads/{branch}", "--", ok=(0, 128))
        names: list[str] = []
        current = branch
        for line in os.fsdecode(done.stdout).split("\n"):
            match = _RENAMED.fullmatch(line)
            if match is None or match[3] != current:
                continue
            if match[1] == "copied":
                break
            current = match[2]
            names.append(current)
        return names

    def worktrees(self) -> list[Worktree]:
        """All worktrees of the repository, the main one (or the bare repository) first."""
        found = []
        for block in os.fsdecode(call(self.root, "worktree", "list", "--porcelain").stdout).split("\n\n"):
            fields = dict(line.partition(" ")[::2] for line in block.split("\n"))
            if "worktree" in fields:
                commit, branch = fields.get("HEAD"), fields.get("branch")
                found.append(
                    Worktree(
                        Path(fields["worktree"]),
                        commit if commit and commit.strip("0") else None,
                        branch.removeprefix("refs/heads/") if branch else None,
                        "bare" in fields,
                    )
                )
        return found

    def remote_url(self, remote: str = "origin") -> str | None:
        """The URL of a remote, without a password, or None if there is none of that name."""
        done = call(self.root, "config", "--get", f"remote.{remote}.url", ok=(0, 1))
        url = done.stdout.decode("utf-8", "surrogateescape").strip()
        return re.sub(r"(://)[^/@\s]*@", r"\1", url) or None

    def user(self) -> str:
        """``Name <mail>`` as git would sign a commit, or the best that can be said without git. Never fails."""
        try:
            done = call(self.root, "var", "GIT_AUTHOR_IDENT", ok=(0, 128))
            if match := _IDENTITY.fullmatch(done.stdout.rstrip(b"\n")):
                return match["who"].decode("utf-8", "replace")
        except GitError:
            pass
        try:
            name = getpass.getuser()
        except (OSError, KeyError, ImportError):
            name = "unknown"
        import socket

        return f"{name} <{name}@{socket.gethostname() or 'localhost'}>"

    # commits

    def commit_info(self, commit: str) -> CommitInfo:
        """One commit. Raises as `resolve` does."""
        found = self.commit_infos([commit])
        return found[commit] if found else self.missing(commit)

    def commit_infos(self, commits: Iterable[str]) -> dict[str, CommitInfo]:
        """Many commits in one call of git, by the names given; those that are not in this clone are absent."""
        asked = [name for name in dict.fromkeys(commits) if is_askable(name)]
        if not asked:
            return {}
        stdin = b"".join(os.fsencode(f"{name}^{{commit}}\n") for name in asked)
        out = call(self.root, "cat-file", "--batch", stdin=stdin).stdout
        found: dict[str, CommitInfo] = {}
        at = 0
        for name in asked:
            end = out.index(b"\n", at)
            header = out[at:end]
            at = end + 1
            if match := re.fullmatch(rb"([0-9a-f]{40,64}) commit (\d+)", header):
                size = int(match[2])
                found[name] = _parse_commit(match[1].decode(), out[at : at + size])
                at += size + 1
        return found

    def contains_code(
        self, commit: str, head: str, *, paths: Sequence[str | Path] = (), limit: int = 200
    ) -> Containment:
        """Whether a head contains the code of a commit: by ancestry, or by a squash, a rebase or a cherry-pick of it.

        See `anabranch.git.containment` for the method. It takes at most three calls of git where the answer is yes and
        nobody has since edited the same lines. A yes for two hashes stays a yes.

        Args:
            commit: The commit whose code is looked for.
            head: The commit whose history is looked in.
            paths: The project's files and folders; what the commit did outside of them does not count. None for all.
            limit: How many commits of the head's history are looked at, newest first.

        Raises:
            UndeterminedError: history is shallow, and the answer may lie beyond its edge.
            GitError: the head does not exist.
        """
        return contains_code(self, commit, head, paths=paths, limit=limit)

    # files

    def show(self, commit: str, path: str) -> bytes | None:
        """A file's bytes at a commit, or None if there is no such file. ``path`` is relative to the root.

        Raises as `resolve` does.
        """
        (full,) = self.resolve_all(commit)
        clean = posixpath.normpath(path)
        done = call(self.root, "cat-file", "blob", f"{full}:{clean}", ok=(0, 128))
        if done.returncode == 0:
            return done.stdout
        if not self.exists(full):
            self.missing(commit)
        if not any(
            said in done.stderr for said in (b"not in", b"does not exist", b"bad file", b"outside rep")
        ):
            refuse(self.root, ["cat-file", "blob", f"{full}:{clean}"], done)
        return None

    def tracked_and_untracked(self, paths: Sequence[str | Path] = ()) -> list[str]:
        """The files that are there and not ignored, tracked or not, relative to the root, sorted."""
        arguments = ("-z", "--cached", "--others", "--exclude-standard", "--full-name", "--")
        out = os.fsdecode(call(self.root, "ls-files", *arguments, *self.inside(paths)).stdout)
        names = sorted(set(out.split("\0")) - {""})
        return [name for name in names if (file := self.root / name).is_file() or file.is_symlink()]


def _parse_commit(commit: str, raw: bytes) -> CommitInfo:
    head, _, message = raw.partition(b"\n\n")
    fields: dict[bytes, list[bytes]] = {}
    for line in head.split(b"\n"):
        name, _, value = line.partition(b" ")
        fields.setdefault(name, []).append(value)
    encoding = fields.get(b"encoding", [b"utf-8"])[0].decode("ascii", "replace")

    def text(value: bytes) -> str:
        try:
            return value.decode(encoding, "replace")
        except LookupError:
            return value.decode("utf-8", "replace")

    author, committer = (_IDENTITY.match(fields[role][0]) for role in (b"author", b"committer"))
    return CommitInfo(
        commit,
        next((line.strip() for line in text(message).splitlines() if line.strip()), ""),
        text(author["who"]) if author else text(fields[b"author"][0]),
        datetime.fromtimestamp(int(committer["seconds"]) if committer else 0, UTC),
        fields[b"tree"][0].decode(),
        tuple(parent.decode() for parent in fields.get(b"parent", [])),
    )
