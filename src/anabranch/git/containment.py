"""Whether one state of the code contains another, told without loading either.

A head contains a commit's code if (1) the commit is an ancestor, or if some commit C of the head's own history (2) has
the commit's tree, or (3) is such that merging the commit into C gives exactly C: then everything the commit did, as
against the point where its branch left, is in C. So a branch that was squashed, rebased or cherry-picked is found, also
with other work before and after it, and also if its lines were edited or reverted later: what is in the history was
taken over once, as with an ancestor. A cherry-pick of a part does not pass, nor a squash whose conflicts were settled by
other lines. A commit that changed nothing since it left the head's history is contained, for its code is that of its
base. Merges are computed by ``git merge-tree --write-tree`` (git 2.39); an older git compares patches instead.

Only those C matter that descend from the point where the commit's branch left (else a commit that restores an older
state would be taken for contained in whatever was made of that older state), and for (3) only those that touch a file
which the commit changed (between two of them the answer is the same) and have left none of these files as it was.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal

from anabranch.dataclass import dataclass
from anabranch.git.objects import Objects, is_askable, is_full_hash
from anabranch.git.process import call, refuse

How = Literal["ancestor", "same tree", "merged content", "no"]

_CHUNK = 25
_MOST_PATHS = 500
_SAMPLE = 8


@dataclass(frozen=True)
class Containment:
    """Whether a head contains the code of a commit, and how that is known.

    Attributes:
        contained: The answer.
        how: By ancestry, by a commit of the same tree, or by one into which merging the commit changes nothing.
        at: The commit in the head's history that has the code; None if there is none.
    """

    contained: bool
    how: How
    at: str | None = None


def contains_code(
    objects: Objects, commit: str, head: str, *, paths: Sequence[str | Path] = (), limit: int = 200
) -> Containment:
    """Answers `Repository.contains_code`, which states the contract."""
    inside = objects.inside(paths)
    if not (is_full_hash(commit) and is_full_hash(head)):
        head = objects.resolve(head)
        commit = objects.look_up([f"{commit}^{{commit}}"])[0] or commit
    question = ("rev-parse", f"{commit}...{head}", f"{commit}^{{tree}}", f"{head}^{{tree}}")
    done = call(objects.root, *question, ok=(0, 128)) if is_full_hash(commit) else None
    if done is None or done.returncode:
        if not objects.is_absent(commit, head):
            call(objects.root, *question)
        return Containment(False, "no")
    _, _, *bases, tree, head_tree = done.stdout.decode().replace("^", "").split()
    if commit in bases:
        return Containment(True, "ancestor", commit)
    search = _Search(objects, commit, tree, head, head_tree, bases, inside, limit)
    at = search.same_tree()
    if at is not None:
        return Containment(True, "same tree", at)
    at = search.merged()
    if at is not None:
        return Containment(True, "merged content", at)
    objects.check_edge(commit, head)
    return Containment(False, "no")


class _OldGitError(Exception):
    """This git has no ``merge-tree --write-tree --stdin``."""


@dataclass(frozen=True)
class _Search:
    objects: Objects
    commit: str
    tree: str
    head: str
    head_tree: str
    bases: list[str]
    inside: list[str]
    limit: int

    def same_tree(self) -> str | None:
        if self.inside:  # a merge finds it as well, within the paths
            return None
        return next((at for at, its in self._after().items() if its == self.tree), None)

    def merged(self) -> str | None:
        try:
            at = self._first_unchanged({self.head: self.head_tree})
            if at is not None:
                return at
            touched = self._touched()
            ordered = list(self._possible(self._after(*touched), touched).items())
            for start in range(0, len(ordered), _CHUNK):
                at = self._first_unchanged(dict(ordered[start : start + _CHUNK]))
                if at is not None:
                    return at
        except _OldGitError:
            return self._same_patches() if self.bases else None
        return None

    def _touched(self) -> Sequence[str]:
        """The files that the commit changed since it left, or the project's paths where those are too many to name."""
        if not self.bases:
            return self.inside
        names = self.objects.diff_names(self.bases[0], self.commit, self.inside)
        return names if 0 < len(names) <= _MOST_PATHS else self.inside

    def _after(self, *names: str) -> dict[str, str]:
        """Commit → tree, newest first, of the head's history since the commit's branch left, that touch the files."""
        limits = ["--full-history", f"--max-count={self.limit}"]
        if self.bases:
            limits += ["--ancestry-path", *(f"^{base}" for base in self.bases)]
        return self.objects.history(self.head, self.commit, *limits, "--", *names)

    def _possible(self, listed: dict[str, str], touched: Sequence[str]) -> dict[str, str]:
        """Without the head, which is known, and without those that left a file as it was before the commit changed it."""
        listed.pop(self.head, None)
        names = [name for name in touched if is_askable(name)][:_SAMPLE]
        if len(self.bases) != 1 or not listed or not names:
            return listed
        asked = [f"{at}:{name}" for at in (self.bases[0], *listed) for name in names]
        blobs = self.objects.look_up(asked)
        before = blobs[: len(names)]
        rows = (blobs[start : start + len(names)] for start in range(len(names), len(blobs), len(names)))
        return {
            at: tree
            for (at, tree), row in zip(listed.items(), rows, strict=True)
            if not any(blob is not None and blob == old for blob, old in zip(row, before, strict=True))
        }

    def _first_unchanged(self, candidates: Mapping[str, str]) -> str | None:
        """The first candidate (commit → its tree) into which merging the commit changes nothing within the paths."""
        # The trial merges' objects go to a folder that is thrown away: the repository may be read-only.
        with tempfile.TemporaryDirectory(prefix="anabranch-") as scratch:
            quoted = re.sub(r'(["\\])', r"\\\1", str(self.objects.common_dir / "objects"))
            extra = {"GIT_OBJECT_DIRECTORY": scratch, "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{quoted}"'}
            flags = ("--write-tree", "--stdin", "--name-only", "--no-messages", "--allow-unrelated-histories")
            stdin = "".join(f"{candidate} {self.commit}\n" for candidate in candidates).encode()
            done = call(
                self.objects.root, "merge-tree", *flags, stdin=stdin, ok=(0, 1, 128, 129), extra=extra
            )
            if done.returncode in {128, 129}:
                if _version(self.objects) < (2, 39):
                    raise _OldGitError
                refuse(self.objects.root, ["merge-tree", *flags], done)
            results = _merge_results(os.fsdecode(done.stdout))
            for candidate, (clean, tree, conflicts) in zip(candidates, results, strict=True):
                if clean and tree == candidates[candidate]:
                    return candidate
                if self.inside and not any(_under(name, self.inside) for name in conflicts):
                    asked = [f"{one}:{path}" for one in (tree, candidate) for path in self.inside]
                    there = self.objects.look_up(asked, extra=extra)
                    if there[: len(self.inside)] == there[len(self.inside) :]:
                        return candidate
        return None

    def _same_patches(self) -> str | None:
        """For an old git: a commit with the same change as the whole branch, or one for each of the branch's commits."""
        within = self._touched()
        theirs = self._patches(self._after(*within), within)
        flags = ("-r", "-p", "--binary", "--no-renames")
        whole = call(self.objects.root, "diff-tree", *flags, self.bases[0], self.commit, "--", *within).stdout
        if not whole.strip():
            return self.bases[0]
        if at := theirs.get(_digest_of_patch(whole)):
            return at
        if self.objects.history(self.commit, self.head, "--merges", "--max-count=1"):
            return None
        ours = self._patches(self.objects.history(self.commit, self.head), within)
        return theirs[next(iter(ours))] if ours and all(patch in theirs for patch in ours) else None

    def _patches(self, commits: Iterable[str], within: Sequence[str]) -> dict[str, str]:
        """Digest of what a commit changes as against its first parent → the newest such commit."""
        stdin = "".join(f"{commit}\n" for commit in commits).encode()
        flags = (
            "--stdin",
            "--root",
            "-r",
            "-p",
            "--binary",
            "--no-renames",
            "--format=%x00%H",
            "-m",
            "--first-parent",
        )
        out = call(self.objects.root, "diff-tree", *flags, "--", *within, stdin=stdin).stdout
        found: dict[str, str] = {}
        for piece in re.split(rb"(?m)^\0(?=(?:[0-9a-f]{40}|[0-9a-f]{64})$)", out)[1:]:
            commit, _, patch = piece.partition(b"\n")
            if patch.strip():
                found.setdefault(_digest_of_patch(patch), commit.decode())
        return found


def _version(objects: Objects) -> tuple[int, ...]:
    match = re.search(rb"(\d+)\.(\d+)", call(objects.root, "version").stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _under(name: str, paths: Iterable[str]) -> bool:
    return any(name == path or name.startswith(f"{path}/") for path in paths)


def _merge_results(out: str) -> Iterator[tuple[bool, str, list[str]]]:
    """Clean?, tree and conflicted files of each trial merge: ``status NUL tree NUL (name NUL)* NUL``."""
    tokens = iter(out.split("\0"))
    for status in tokens:
        if not status.strip():
            return
        tree = next(tokens)
        yield status.strip() == "1", tree, list(iter(lambda: next(tokens, ""), ""))


def _digest_of_patch(patch: bytes) -> str:
    """A patch's hash without the names of blobs and the numbers of lines. Unlike git's patch-id it keeps blanks."""
    kept = (
        b"@@" if line.startswith(b"@@ ") else line
        for line in patch.strip(b"\n").split(b"\n")
        if not line.startswith(b"index ")
    )
    return sha256(b"\n".join(kept)).hexdigest()
