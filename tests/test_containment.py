"""Whether one state of the code contains another: merges, squashes, rebases, cherry-picks, reverts; with and without merge-tree."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from anabranch.errors import GitError
from anabranch.git import Containment, Repository, containment
from anabranch.git import process as git_process
from git_repo import GitRepo

Repo = Callable[..., GitRepo]
LINES = "".join(f"line {n}\n" for n in range(30))


def edit(number: int, text: str, lines: str = LINES) -> str:
    return lines.replace(f"line {number}\n", f"{text}\n")


@pytest.fixture(params=["new git", "old git"])
def forked(request: pytest.FixtureRequest, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> GitRepo:
    """``main`` with two files, and ``feature`` with two commits that edit both and add one; ``main`` is checked out."""
    if request.param == "old git":
        pretend_old_git(monkeypatch)
    made = repo(files={"a.py": LINES, "b.py": LINES, "README": "1\n"})
    made.branch("feature")
    made.commit({"a.py": edit(3, "feature one")}, "One")
    made.commit({"b.py": edit(20, "feature two"), "new.py": "new\n"}, "Two")
    made.switch("main")
    return made


def pretend_old_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on git answers to the real merge as a git of 2021 does."""
    real = subprocess.run

    def run(command, **rest):
        if "merge-tree" in command:
            return subprocess.CompletedProcess(
                command, 129, b"", b"usage: git merge-tree <base-tree> <b1> <b2>\n"
            )
        if command[-1] == "version":
            return subprocess.CompletedProcess(command, 0, b"git version 2.34.1\n", b"")
        return real(command, **rest)

    monkeypatch.setattr(git_process.subprocess, "run", run)


def ask(made: GitRepo, commit: str = "feature", head: str = "main", **rest) -> Containment:
    return Repository.find(made.path).contains_code(
        made.git("rev-parse", commit), made.git("rev-parse", head), **rest
    )


def unrelated_work(made: GitRepo) -> str:
    return made.commit({"README": made.head, "a.py": edit(28, made.head, (made.path / "a.py").read_text())})


def test_a_merge_contains_the_branch_by_ancestry(forked: GitRepo) -> None:
    unrelated_work(forked)
    forked.git("merge", "-q", "--no-ff", "feature")
    found = ask(forked)
    assert found == Containment(True, "ancestor", forked.git("rev-parse", "feature"))


def test_a_commit_contains_itself_and_a_branch_its_base(forked: GitRepo) -> None:
    assert ask(forked, "main", "main").how == "ancestor"
    assert ask(forked, "main", "feature").how == "ancestor"


def test_a_branch_that_was_never_taken_over_is_not_contained(forked: GitRepo) -> None:
    assert ask(forked) == Containment(False, "no", None)
    unrelated_work(forked)
    assert ask(forked) == Containment(False, "no", None)


def test_a_squash_onto_an_unmoved_main_has_the_same_tree(forked: GitRepo) -> None:
    squash = forked.squash("feature")
    assert ask(forked) == Containment(True, "same tree", squash)
    unrelated_work(forked)
    assert ask(forked) == Containment(True, "same tree", squash)


def test_a_squash_among_unrelated_work_is_found(forked: GitRepo) -> None:
    unrelated_work(forked)
    forked.squash("feature")
    assert ask(forked).how == "merged content"
    last = unrelated_work(forked)
    found = ask(forked)
    assert found.contained
    assert Repository.find(forked.path).is_ancestor(found.at, last)


def test_a_squash_is_found_though_its_lines_were_edited_further(forked: GitRepo) -> None:
    unrelated_work(forked)
    squash = forked.squash("feature")
    unrelated_work(forked)
    forked.commit({"b.py": edit(20, "edited again")})
    forked.commit({"new.py": None})
    assert ask(forked) == Containment(True, "merged content", squash)


def test_a_squash_that_was_reverted_is_still_contained_by_history(forked: GitRepo) -> None:
    unrelated_work(forked)
    squash = forked.squash("feature")
    forked.git("revert", "--no-edit", "HEAD")
    assert ask(forked) == Containment(True, "merged content", squash)


def test_a_rebased_branch_is_contained(forked: GitRepo) -> None:
    unrelated_work(forked)
    forked.git("branch", "old", "feature")
    forked.git("rebase", "-q", "main", "feature")
    forked.switch("main")
    forked.git("merge", "-q", "--ff-only", "feature")
    assert not Repository.find(forked.path).is_ancestor("old", "main")
    assert ask(forked, "old").how == "merged content"
    assert ask(forked, "old~1").contained


def test_one_cherry_picked_commit_of_two_does_not_contain_the_branch(forked: GitRepo) -> None:
    unrelated_work(forked)
    forked.git("cherry-pick", "feature~1")
    assert not ask(forked).contained
    assert ask(forked, "feature~1").contained
    unrelated_work(forked)
    forked.git("cherry-pick", "feature")
    assert ask(forked).how == "merged content"


def test_the_second_commit_alone_does_not_contain_the_branch(forked: GitRepo) -> None:
    forked.git("cherry-pick", "feature")
    assert not ask(forked).contained


def test_a_squash_of_an_earlier_state_does_not_contain_the_later_one(forked: GitRepo) -> None:
    unrelated_work(forked)
    forked.squash("feature")
    forked.switch("feature")
    forked.commit({"new.py": "more\n"})
    assert not ask(forked).contained
    assert ask(forked, "feature~1").contained


def test_a_squash_with_lines_settled_otherwise_is_not_taken_for_the_branch(forked: GitRepo) -> None:
    forked.commit({"a.py": edit(3, "main's own")})
    forked.git("merge", "-q", "--squash", "feature", check=False)
    forked.commit({"a.py": edit(3, "a compromise")})
    assert not ask(forked).contained


def test_a_squash_that_differs_by_blanks_alone_is_not_taken_for_the_branch(forked: GitRepo) -> None:
    unrelated_work(forked)
    forked.git("merge", "-q", "--squash", "feature")
    text = (forked.path / "b.py").read_text().replace("feature two", "    feature two")
    forked.commit({"b.py": text})
    assert not ask(forked).contained


def test_a_commit_that_changed_nothing_is_contained_as_its_base_is(forked: GitRepo) -> None:
    unrelated_work(forked)
    forked.branch("empty", "main~1")
    forked.commit(message="Nothing")
    unrelated_work(forked)
    forked.git("revert", "--no-edit", "HEAD")
    forked.switch("main")
    assert ask(forked, "empty").contained
    assert not ask(forked, "empty~1").contained


def test_a_head_that_is_behind_does_not_contain_what_comes_after(forked: GitRepo) -> None:
    assert not ask(forked, "feature", "feature~1").contained
    assert not ask(forked, "feature", "main").contained


def test_a_branch_cut_after_the_squash_contains_it_and_one_cut_before_does_not(forked: GitRepo) -> None:
    forked.git("branch", "before", "main")
    unrelated_work(forked)
    forked.squash("feature")
    forked.branch("after")
    unrelated_work(forked)
    assert ask(forked, "feature", "after").contained
    assert not ask(forked, "feature", "before").contained


def test_a_squash_that_came_by_a_merge_from_main_is_found(forked: GitRepo) -> None:
    forked.branch("mine")
    forked.commit({"own.py": "1\n"})
    forked.switch("main")
    unrelated_work(forked)
    squash = forked.squash("feature")
    forked.commit({"b.py": edit(20, "edited again")})
    forked.switch("mine")
    forked.git("merge", "-q", "main")
    assert ask(forked, "feature", "mine") == Containment(True, "merged content", squash)


def test_a_revert_is_not_contained_in_what_was_made_of_the_state_that_it_restores(forked: GitRepo) -> None:
    forked.git("branch", "side", "main")
    forked.commit({"a.py": edit(3, "a mistake")})
    forked.git("branch", "mine")
    forked.git("revert", "--no-edit", "HEAD")
    forked.switch("side")
    forked.commit({"a.py": edit(3, "there")})
    forked.commit({"a.py": LINES}, "and back")
    forked.switch("mine")
    forked.git("merge", "-q", "side")
    assert (forked.path / "a.py").read_text() == edit(3, "a mistake")
    assert not ask(forked, "main", "mine").contained
    forked.git("merge", "-q", "main")
    assert ask(forked, "main", "mine").how == "ancestor"


def test_a_commit_with_many_files_is_found_among_edits_of_some_of_them(forked: GitRepo) -> None:
    forked.branch("wide")
    forked.commit({f"wide/{n}.py": f"{n}\n" for n in range(20)} | {"a.py": edit(3, "wide"), "b.py": None})
    forked.switch("main")
    for n in range(4):
        forked.commit({"a.py": edit(3, f"attempt {n}")})
    forked.commit({"a.py": LINES})
    assert not ask(forked, "wide").contained
    squash = forked.squash("wide")
    for n in range(4):
        forked.commit({"a.py": edit(3, f"attempt {n}"), "wide/3.py": f"{n}\n\n"})
    assert ask(forked, "wide").at == squash


def test_a_branch_that_merged_main_before_it_was_squashed_is_contained(forked: GitRepo) -> None:
    unrelated_work(forked)
    forked.switch("feature")
    forked.git("merge", "-q", "main")
    forked.switch("main")
    unrelated_work(forked)
    forked.squash("feature")
    unrelated_work(forked)
    assert ask(forked).contained


def test_a_force_pushed_branch_leaves_its_old_tip_uncontained(forked: GitRepo) -> None:
    forked.git("branch", "old", "feature")
    forked.switch("feature")
    forked.git("reset", "-q", "--hard", "main")
    forked.commit({"a.py": edit(3, "another way")})
    forked.switch("main")
    forked.squash("feature")
    assert not ask(forked, "old").contained
    assert ask(forked).contained


def test_binary_files_and_strange_names_count_too(forked: GitRepo) -> None:
    forked.branch("binary")
    forked.commit({"data.bin": bytes(range(256)) * 8, "é [x]*.py": "1\n", "-dash": "1\n"})
    forked.switch("main")
    unrelated_work(forked)
    forked.write({"data.bin": bytes(range(255, -1, -1)) * 8, "é [x]*.py": "1\n", "-dash": "1\n"})
    forked.commit()
    assert not ask(forked, "binary").contained
    forked.git("revert", "--no-edit", "HEAD")
    forked.squash("binary")
    unrelated_work(forked)
    assert ask(forked, "binary").contained


def test_what_lies_outside_of_the_projects_paths_does_not_count(repo: Repo) -> None:
    made = repo(files={"project/a.py": LINES, "other/b.py": LINES})
    made.branch("feature")
    made.commit({"project/a.py": edit(3, "feature"), "other/b.py": edit(3, "feature")})
    made.switch("main")
    made.commit({"other/b.py": edit(3, "settled otherwise"), "project/a.py": edit(3, "feature")})
    made.commit({"other/c.py": "1\n"})
    assert not ask(made).contained
    assert ask(made, paths=["project"]).how == "merged content"
    assert ask(made, paths=[made.path / "project"]).contained
    assert not ask(made, paths=["other"]).contained
    assert not ask(made, paths=["project", "other"]).contained
    assert not ask(made, paths=["."]).contained
    made.commit({"project/a.py": edit(3, "edited again")})
    assert ask(made, paths=["project"]).contained


def test_a_conflict_inside_the_projects_paths_is_no_containment(repo: Repo) -> None:
    made = repo(files={"project/a.py": LINES})
    made.branch("feature")
    made.commit({"project/a.py": edit(3, "feature")})
    made.switch("main")
    made.commit({"project/a.py": edit(3, "main")})
    assert not ask(made, paths=["project"]).contained


def test_a_commit_that_did_nothing_inside_the_projects_paths_is_contained(repo: Repo) -> None:
    made = repo(files={"project/a.py": LINES, "other/b.py": LINES})
    made.branch("feature")
    made.commit({"other/b.py": edit(3, "feature")})
    made.switch("main")
    made.commit({"project/a.py": edit(3, "main")})
    assert ask(made, paths=["project"]).contained
    assert not ask(made, paths=["other"]).contained


def test_a_history_that_was_written_anew_contains_the_same_tree(repo: Repo) -> None:
    made = repo(files={"a.py": LINES})
    made.commit({"a.py": edit(3, "one")})
    made.git("branch", "old")
    made.git("switch", "-q", "--orphan", "anew")
    fresh = made.commit({"a.py": edit(3, "one")})
    made.commit({"a.py": edit(4, "two", edit(3, "one"))})
    assert ask(made, "old", "anew") == Containment(True, "same tree", fresh)
    assert not ask(made, "anew", "old").contained


def test_a_commit_that_a_complete_clone_lacks_is_not_contained(repo: Repo) -> None:
    made = repo(files={"a.py": LINES})
    found = Repository.find(made.path)
    assert found.contains_code("1" * 40, "main") == Containment(False, "no")
    assert found.contains_code("no-such-branch", "main") == Containment(False, "no")
    for missing in ("1" * 40, "no-such-branch"):
        with pytest.raises(GitError, match="git knows no commit"):
            found.contains_code("main", missing)


def test_names_are_taken_as_well_as_hashes(forked: GitRepo) -> None:
    forked.squash("feature")
    found = Repository.find(forked.path)
    assert found.contains_code("feature", "HEAD").contained
    assert found.contains_code(forked.git("rev-parse", "feature"), "main").contained
    assert found.contains_code(forked.git("rev-parse", "--short", "feature~1"), "feature").how == "ancestor"


def test_a_shallow_clone_answers_yes_where_it_can_see_it(repo: Repo, tmp_path: Path) -> None:
    made = repo(files={"a.py": LINES})
    made.branch("feature")
    made.commit({"a.py": edit(3, "feature")})
    made.switch("main")
    squash = made.squash("feature")
    made.git("clone", "-q", "--depth=1", "--no-single-branch", f"file://{made.path}", str(tmp_path / "clone"))
    found = Repository.find(tmp_path / "clone")
    assert found.contains_code("origin/feature", "HEAD") == Containment(True, "same tree", squash)


def test_the_search_ends_at_its_limit(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    made = repo(files={"a.py": LINES})
    made.branch("feature")
    made.commit({"a.py": edit(3, "feature")})
    made.switch("main")
    made.commit({"b.py": "1\n"})
    squash = made.squash("feature")
    for n in range(6):
        made.commit({"a.py": edit(3, f"again {n}")})
    monkeypatch.setattr(containment, "_CHUNK", 2)
    assert ask(made) == Containment(True, "merged content", squash)
    assert not ask(made, limit=6).contained


def test_nothing_is_written_to_the_repository(forked: GitRepo) -> None:
    unrelated_work(forked)
    forked.squash("feature")
    forked.commit({"b.py": edit(20, "edited again")})
    before = contents(forked)
    assert ask(forked).contained
    assert not ask(forked, "main", "feature").contained
    assert contents(forked) == before


def contents(made: GitRepo) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (made.path / ".git").rglob("*") if path.is_file()}


def test_usual_answers_take_three_calls_of_git_at_most(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    made = repo(files={"a.py": LINES})
    made.branch("feature")
    feature = made.commit({"a.py": edit(3, "feature")})
    made.switch("main")
    start = made.head
    squash = made.squash("feature")
    made.git("branch", "other", start)
    made.switch("other")
    made.commit({"README": "1"})
    moved = made.squash("feature")
    found = Repository.find(made.path)
    calls: list[list[str]] = []
    real = subprocess.run

    def run(command, **rest):
        calls.append(command)
        return real(command, **rest)

    monkeypatch.setattr(git_process.subprocess, "run", run)
    for commit, head, how, most in (
        (start, squash, "ancestor", 1),
        (feature, squash, "same tree", 2),
        (feature, moved, "merged content", 3),
    ):
        calls.clear()
        assert found.contains_code(commit, head).how == how
        assert len(calls) <= most, calls
    calls.clear()
    assert found.contains_code(feature, moved, paths=["a.py"]).how == "merged content"
    assert len(calls) <= 3
