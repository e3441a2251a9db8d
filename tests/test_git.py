"""What git says of where one is, on real repositories."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from anabranch.errors import GitError, UndeterminedError
from anabranch.git import Repository, is_git_branch_name
from anabranch.git import process as git_process
from git_repo import GitRepo

Repo = Callable[..., GitRepo]
HOSTILE = [
    "$(>pwned)",
    "a'b\"c",
    "données/été",
    "数据",
    "a;b|c&d",
    "a`b`",
    "-",
    "--help",
    "x@y",
    "a\u2028b",
    "(detached)",
]


def find(repo: GitRepo) -> Repository:
    return Repository.find(repo.path)


# finding


def test_a_repository_is_found_from_a_folder_or_a_file_deep_inside(repo: Repo) -> None:
    made = repo(files={"a/b/c.txt": "1"})
    for place in (made.path, made.path / "a/b", made.path / "a/b/c.txt"):
        found = Repository.find(place)
        assert found.root == made.path.resolve()
        assert found.git_dir == made.path.resolve() / ".git"
        assert found.main_root == found.root


def test_a_link_to_the_repository_leads_to_the_real_folder(repo: Repo, tmp_path: Path) -> None:
    made = repo(files={"a.txt": "1"})
    link = tmp_path / "link"
    link.symlink_to(made.path)
    found = Repository.find(link)
    assert found.root == made.path.resolve()
    made.write({"a.txt": "2", "b.txt": "1"})
    (made.path / "out").symlink_to(tmp_path)
    assert found.state([link / "a.txt"]).dirty == ("a.txt",)
    assert found.state([link]).dirty == ("a.txt", "b.txt", "out")
    assert found.state([link / "out"]).dirty == ("out",)


def test_no_repository_is_an_error_with_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(GitError, match="is not inside a git repository") as caught:
        Repository.find(tmp_path)
    assert "git init" in (caught.value.hint or "")
    with pytest.raises(GitError, match="there is no folder"):
        Repository.find(tmp_path / "no" / "where")


def test_a_bare_repository_has_no_place_to_work_in(repo: Repo, tmp_path: Path) -> None:
    repo().git("init", "-q", "--bare", str(tmp_path / "bare.git"))
    with pytest.raises(GitError, match="without a working folder") as caught:
        Repository.find(tmp_path / "bare.git")
    assert "git worktree add" in (caught.value.hint or "")


def test_a_machine_without_git_is_told_so(
    repo: Repo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = repo(files={})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="not installed") as caught:
        find(made)
    assert "install git" in (caught.value.hint or "")


def test_what_git_says_is_kept_as_facts(repo: Repo) -> None:
    made = repo(files={"a": "1"})
    (made.path / ".git/index").write_bytes(b"broken")
    with pytest.raises(GitError, match="git status failed") as caught:
        find(made).state()
    assert caught.value.facts["exit_code"] == 128
    assert caught.value.facts["command"][:2] == ["git", "status"]
    assert "index" in caught.value.facts["stderr"]


def test_distrust_of_another_users_folder_comes_with_the_command_that_helps() -> None:
    done = subprocess.CompletedProcess(
        ["git"], 128, b"", b"fatal: detected dubious ownership in repository at '/x'\n"
    )
    with pytest.raises(GitError, match="does not trust /x") as caught:
        git_process.refuse(Path("/x"), ["status"], done)
    assert caught.value.hint == "if you do: git config --global --add safe.directory /x"


# worktrees


def test_all_worktrees_share_the_top_of_the_main_one(repo: Repo, tmp_path: Path) -> None:
    made = repo(files={"a.txt": "1"})
    made.git("worktree", "add", "-q", "-b", "feature", str(tmp_path / "other"))
    other = Repository.find(tmp_path / "other")
    assert other.root == (tmp_path / "other").resolve()
    assert other.main_root == find(made).main_root == made.path.resolve()
    assert other.state().branch == "feature"
    assert [(tree.path.name, tree.branch, tree.commit) for tree in other.worktrees()] == [
        ("repo", "main", made.head),
        ("other", "feature", made.head),
    ]


def test_worktrees_of_a_bare_repository_agree_on_a_folder(repo: Repo, tmp_path: Path) -> None:
    made = repo(files={"a.txt": "1"})
    for bare, expected in (("project/.git", "project"), ("lone.git", "lone.git")):
        made.git("clone", "-q", "--bare", str(made.path), str(tmp_path / bare))
        bare_repo = GitRepo(tmp_path / bare)
        for name in ("one", "two"):
            at = tmp_path / f"{name}-of-{expected}"
            bare_repo.git("worktree", "add", "-q", "-b", name, str(at), "main")
            assert Repository.find(at).main_root == (tmp_path / expected).resolve()
        listed = Repository.find(at).worktrees()
        assert [(tree.bare, tree.branch) for tree in listed] == [(True, None), (False, "one"), (False, "two")]


def test_worktrees_of_a_repository_kept_elsewhere_agree_on_a_folder(repo: Repo, tmp_path: Path) -> None:
    made = repo()
    made.git("init", "-q", "-b", "main", f"--separate-git-dir={tmp_path / 'kept'}", str(tmp_path / "work"))
    work = GitRepo(tmp_path / "work")
    work.commit({"a.txt": "1"})
    work.git("worktree", "add", "-q", str(tmp_path / "second"))
    assert find(work).main_root == Repository.find(tmp_path / "second").main_root


def test_a_submodules_worktrees_agree_on_a_folder(repo: Repo, tmp_path: Path) -> None:
    inner, outer = repo("inner", files={"a.txt": "1"}), repo("outer", files={"b.txt": "1"})
    outer.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner.path), "sub")
    sub = GitRepo(outer.path / "sub")
    sub.git("worktree", "add", "-q", str(tmp_path / "second"))
    assert find(sub).root == find(sub).main_root == (outer.path / "sub").resolve()
    assert Repository.find(tmp_path / "second").main_root == (outer.path / "sub").resolve()


# state


def test_the_state_names_commit_branch_and_every_kind_of_edit(repo: Repo) -> None:
    made = repo(
        files={
            ".gitignore": "*.log\n",
            "same": "1",
            "edited": "1",
            "staged": "1",
            "gone": "1",
            "old name": "1\n2\n",
        }
    )
    found = find(made)
    assert found.state().dirty == ()
    made.write({"edited": "2", "staged": "2", "gone": None, "a.log": "x", "new/deep/file": "1", "é\n x": "1"})
    made.git("add", "staged")
    made.git("mv", "old name", "new name")
    state = found.state()
    assert (state.commit, state.branch, state.in_progress) == (made.head, "main", None)
    assert state.dirty == ("edited", "gone", "new name", "new/deep/file", "old name", "staged", "é\n x")


def test_edits_outside_of_the_projects_paths_do_not_count(repo: Repo) -> None:
    made = repo(files={"project/a": "1", "other/b": "1"})
    made.write({"project/a": "2", "project/new": "1", "other/b": "2", "project*": "1"})
    found = find(made)
    assert found.state(["project"]).dirty == ("project/a", "project/new")
    assert found.state([made.path / "project" / "new", "other"]).dirty == ("other/b", "project/new")
    assert found.state(["project*"]).dirty == ("project*",)
    assert found.state(["not-there", ":(exclude)project"]).dirty == ()
    assert len(found.state(["."]).dirty) == 4
    for outside in ("..", "../x", "/", made.path.parent):
        with pytest.raises(GitError, match="outside"):
            found.state([outside])


def test_a_branch_without_a_commit_has_none(repo: Repo) -> None:
    made = repo()
    made.write({"a": "1"})
    state = find(made).state()
    assert (state.commit, state.branch, state.dirty) == (None, "main", ("a",))
    assert find(made).branches() == {}
    assert not find(made).branch_exists("main")


def test_a_detached_head_is_on_no_branch(repo: Repo) -> None:
    made = repo(files={"a": "1"})
    made.git("switch", "-q", "--detach")
    state = find(made).state()
    assert (state.commit, state.branch) == (made.head, None)


def conflicting(repo: Repo) -> GitRepo:
    made = repo(files={"a": "1\n"})
    made.branch("feature")
    made.commit({"a": "2\n"})
    made.switch("main")
    made.commit({"a": "3\n"})
    return made


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["merge", "feature"], "merge"),
        (["rebase", "feature"], "rebase"),
        (["rebase", "--apply", "feature"], "rebase"),
        (["cherry-pick", "feature"], "cherry-pick"),
        (["revert", "HEAD~1"], "revert"),
    ],
)
def test_what_is_under_way_is_named(repo: Repo, command: list[str], name: str) -> None:
    made = conflicting(repo)
    if name == "revert":
        made.commit({"a": "4\n"})
    made.git(*command, check=False)
    state = find(made).state()
    assert state.in_progress == name
    assert state.dirty == ("a",)
    made.git(name, "--abort")
    assert find(made).state().in_progress is None


def test_a_bisection_under_way_is_named(repo: Repo) -> None:
    made = conflicting(repo)
    made.git("bisect", "start", "HEAD", "HEAD~1")
    assert find(made).state().in_progress == "bisect"


def test_a_merge_in_another_worktree_is_not_ours(repo: Repo, tmp_path: Path) -> None:
    made = conflicting(repo)
    made.git("worktree", "add", "-q", "-b", "second", str(tmp_path / "second"))
    made.git("merge", "feature", check=False)
    assert Repository.find(tmp_path / "second").state().in_progress is None


def test_the_variables_of_a_surrounding_hook_do_not_lead_elsewhere(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = repo("mine", files={"a": "1"}), repo("other", files={"b": "1"})
    head = mine.head
    monkeypatch.setenv("GIT_DIR", str(other.path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.path))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.path / ".git/index"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other.path / ".git/objects"))
    monkeypatch.setenv("GIT_PREFIX", "x/")
    found = Repository.find(mine.path)
    assert found.root == mine.path.resolve()
    assert found.state() == Repository.find(mine.path).state()
    assert (found.state().commit, found.state().dirty) == (head, ())


def test_inside_a_real_hook_the_state_is_that_of_the_folder_asked_about(repo: Repo, tmp_path: Path) -> None:
    made, other = repo(files={"a": "1"}), repo("other", files={"b": "1"})
    hook = made.path / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    script = "import sys; from pathlib import Path; from anabranch.git import Repository\n"
    script += "print(Repository.find(Path(sys.argv[1])).state().commit, file=open(sys.argv[2], 'w'))"
    hook.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{script}" {other.path} {tmp_path / "said"}\n')
    hook.chmod(0o755)
    made.commit({"a": "2"})
    assert (tmp_path / "said").read_text().strip() == other.head


def test_the_child_keeps_who_one_is_and_which_configuration_holds() -> None:
    given = {
        "HOME": "/h", "GIT_DIR": "x", "GIT_CONFIG_GLOBAL": "g", "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "k",
        "GIT_CONFIG_PARAMETERS": "p", "GIT_AUTHOR_NAME": "Ada", "GIT_TRACE": "1", "LC_ALL": "de_DE", "GIT_EXTERNAL_DIFF": "e",
    }  # fmt: skip
    child = git_process.child_environment(given)
    kept = {name for name in child if name in given}
    assert kept == {
        "HOME",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_COUNT",
        "GIT_CONFIG_KEY_0",
        "GIT_AUTHOR_NAME",
        "LC_ALL",
    }
    assert child["LC_ALL"] == "C"


def test_reading_the_state_takes_no_lock_and_leaves_the_index_alone(repo: Repo) -> None:
    made = repo(files={"a": "1"})
    index = made.path / ".git/index"
    os.utime(made.path / "a", (1, 1))
    before = index.read_bytes()
    (made.path / ".git/index.lock").touch()
    assert find(made).state().dirty == ()
    assert index.read_bytes() == before


# branches


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_branch_name_is_a_name_and_nothing_else(repo: Repo, name: str) -> None:
    made = repo(files={"a": "1"})
    made.git("update-ref", f"refs/heads/{name}", "HEAD")
    found = find(made)
    assert found.branches()[name] == made.head
    assert found.branch_exists(name) is is_git_branch_name(name)
    assert found.renamed_from(name) == []
    assert found.resolve(f"refs/heads/{name}") == made.head
    assert found.is_ancestor(f"refs/heads/{name}", "HEAD")
    assert not (made.path / "pwned").exists()
    made.git("symbolic-ref", "HEAD", f"refs/heads/{name}")
    assert found.state().branch == (None if name == "(detached)" else name)


@pytest.mark.parametrize(
    "name", ["-x", "--version", "$(rm)", "a\nb", "a\0b", "", "\ud800", "HEAD^{/x", "x" * 5000]
)
def test_a_hostile_name_of_a_commit_is_an_unknown_commit(repo: Repo, name: str) -> None:
    found = find(repo(files={"a": "1"}))
    assert not found.exists(name)
    assert not found.branch_exists(name)
    assert found.commit_infos([name]) == {}
    assert not found.is_ancestor(name, "HEAD")
    assert not found.contains_code(name, "HEAD").contained
    for ask in (
        found.resolve,
        found.commit_info,
        lambda name: found.show(name, "a"),
        lambda name: found.is_ancestor("HEAD", name),
    ):
        with pytest.raises(GitError, match="git knows no commit"):
            ask(name)


def test_the_rules_for_branch_names_are_gits_own(repo: Repo) -> None:
    made = repo()
    for name in [*HOSTILE, "main", "a/b", "a..b", "a.lock", "a/.b", ".a", "a.", "a/", "/a", "a//b", "@", "a@{b", "HEAD",
                 "a b", "a~", "a^", "a:b", "a?", "a*", "a[", "a\\b", "a.lock/b", "a.b", "-a", "a\x7f", "é", "@a", "a@"]:  # fmt: skip
        asked = subprocess.run(
            ["git", "check-ref-format", "--branch", name], cwd=made.path, capture_output=True
        )
        assert is_git_branch_name(name) is (asked.returncode == 0), name
    assert not is_git_branch_name("")
    assert not is_git_branch_name("\ud800")


def test_remote_branches_are_told_apart_from_local_ones(repo: Repo, tmp_path: Path) -> None:
    made = repo(files={"a": "1"})
    made.branch("feature/x")
    first = made.head
    second = made.commit({"a": "2"})
    made.switch("main")
    made.git("clone", "-q", str(made.path), str(tmp_path / "clone"))
    found = Repository.find(tmp_path / "clone")
    assert found.branches() == {"main": first}
    assert found.branches(remote=True) == {"origin/main": first, "origin/feature/x": second}


def test_a_deleted_branch_is_gone_and_a_moved_one_is_where_it_was_moved_to(repo: Repo) -> None:
    made = repo(files={"a": "1"})
    first = made.head
    made.branch("feature")
    second = made.commit({"a": "2"})
    made.git("reset", "-q", "--hard", first)
    third = made.commit({"a": "3"})
    found = find(made)
    assert found.branches()["feature"] == third
    assert found.exists(second)
    assert not found.is_ancestor(second, "feature")
    made.switch("main")
    made.git("branch", "-q", "-D", "feature")
    assert not found.branch_exists("feature")
    assert found.renamed_from("feature") == []


def test_a_renamed_branch_remembers_its_earlier_names(repo: Repo) -> None:
    made = repo(files={"a": "1"})
    made.branch("first")
    made.commit({"a": "2"})
    made.git("branch", "-m", "second/name")
    made.commit({"a": "3"})
    made.git("branch", "-m", "third")
    made.git("branch", "-c", "third", "copy")
    found = find(made)
    assert found.renamed_from("third") == ["second/name", "first"]
    assert found.renamed_from("copy") == []
    assert found.renamed_from("main") == []
    assert found.renamed_from("no-such-branch") == []


def test_a_new_branch_under_an_old_name_has_no_earlier_names(repo: Repo) -> None:
    made = repo(files={"a": "1"})
    made.git("branch", "one")
    made.git("branch", "-m", "one", "two")
    made.git("branch", "one")
    assert find(made).renamed_from("one") == []
    assert find(made).renamed_from("two") == ["one"]


# commits and files


def test_many_commits_are_described_in_one_call(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    made = repo(files={"a": "1"})
    first = made.head
    made.git("tag", "-a", "-m", "a tag", "v1")
    second = made.commit({"a": "2"}, "Größer\n\nA body")
    third = made.commit(message="\n\n  Late subject  ")
    found = find(made)
    calls = count_calls(monkeypatch)
    infos = found.commit_infos([first, second, third, "v1", "main", first[:9], "0" * 40, "x y"])
    assert len(calls) == 1
    assert set(infos) == {first, second, third, "v1", "main", first[:9]}
    assert infos["v1"] == infos[first[:9]] == infos[first]
    assert infos[first].parents == ()
    assert infos[second].parents == (first,)
    assert infos[second].subject == "Größer"
    assert infos[third].subject == "Late subject"
    assert infos[third].tree == infos[second].tree == made.git("rev-parse", "HEAD^{tree}")
    assert infos[second].author == "Ada Lovelace <ada@example.com>"
    assert infos[second].time == datetime.fromtimestamp(
        int(made.git("show", "-s", "--format=%ct", second)), UTC
    )
    assert found.commit_info("HEAD").commit == third


def test_a_commit_in_another_encoding_is_read_as_it_was_meant(repo: Repo) -> None:
    made = repo(files={"a": "1"})
    made.git("-c", "i18n.commitEncoding=latin-1", "commit", "-q", "--allow-empty", "-F", "-", check=False)
    (made.path / "message").write_bytes("Größer".encode("latin-1"))
    made.git("-c", "i18n.commitEncoding=latin-1", "commit", "-q", "--allow-empty", "-F", "message")
    assert find(made).commit_info("HEAD").subject == "Größer"


def test_a_file_is_shown_as_it_was_at_a_commit(repo: Repo) -> None:
    made = repo(files={"a/b.bin": b"\x00\r\n\xff", "é": "1", "-x": "dash"})
    first = made.commit({"late": "1"})
    made.commit({"a/b.bin": b"2"})
    found = find(made)
    assert found.show(first, "a/b.bin") == found.show(first, "./a//b.bin") == b"\x00\r\n\xff"
    assert found.show("main", "a/b.bin") == b"2"
    assert found.show(first, "é") == b"1"
    assert found.show(first, "-x") == b"dash"
    for nothing in ("no", "a", "a/b.bin/c", "../a", "/a", "."):
        assert found.show(first, nothing) is None, nothing
    with pytest.raises(GitError, match="git knows no commit"):
        found.show("0" * 40, "a/b.bin")


def test_files_that_are_there_are_listed_and_ignored_ones_are_not(repo: Repo) -> None:
    made = repo(files={".gitignore": "*.log\n", "p/a": "1", "p/gone": "1", "q/b": "1"})
    made.write({"p/new\tfile": "1", "p/x.log": "1", "p/gone": None})
    (made.path / "p/link").symlink_to("nowhere")
    found = find(made)
    assert found.tracked_and_untracked() == [".gitignore", "p/a", "p/link", "p/new\tfile", "q/b"]
    assert found.tracked_and_untracked(["p"]) == ["p/a", "p/link", "p/new\tfile"]


def test_a_conflicted_file_is_listed_once(repo: Repo) -> None:
    made = conflicting(repo)
    made.git("merge", "feature", check=False)
    assert find(made).tracked_and_untracked() == ["a"]


def test_files_that_differ_are_named_a_renamed_one_twice(repo: Repo) -> None:
    made = repo(files={"p/old": "1\n2\n3\n", "q/b": "1"})
    made.git("mv", "p/old", "p/new")
    made.commit({"q/b": "2"})
    found = find(made)
    assert found.diff_names("HEAD~1", "HEAD") == ("p/new", "p/old", "q/b")
    assert found.diff_names("HEAD~1", "HEAD", ["q"]) == ("q/b",)
    with pytest.raises(GitError):
        found.diff_names("0" * 40, "HEAD")


def test_the_user_is_named_whatever_is_configured(
    repo: Repo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = repo(files={"a": "1"})
    found = find(made)
    assert found.user() == "Ada Lovelace <ada@example.com>"
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL"):
        monkeypatch.delenv(name)
    made.git("config", "user.name", "Grace")
    made.git("config", "user.email", "grace@example.com")
    assert found.user() == "Grace <grace@example.com>"
    made.git("config", "--unset", "user.email")
    made.git("config", "user.useConfigOnly", "true")
    monkeypatch.setenv("LOGNAME", "somebody")
    assert found.user().startswith("somebody <somebody@")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found.user().startswith("somebody <somebody@")


# ancestry


def test_ancestry_and_merge_bases_follow_history(repo: Repo) -> None:
    made = repo(files={"a": "1"})
    base = made.head
    made.branch("feature")
    feature = made.commit({"b": "1"})
    made.switch("main")
    main = made.commit({"c": "1"})
    made.git("switch", "-q", "--orphan", "lone")
    lone = made.commit({"d": "1"})
    found = find(made)
    assert found.is_ancestor(base, main)
    assert found.is_ancestor(main, main)
    assert not found.is_ancestor(main, base)
    assert not found.is_ancestor(feature, main)
    assert found.merge_base(feature, "main") == base
    assert found.merge_base(lone, main) is None


def test_what_a_complete_clone_does_not_have_is_no_ancestor(repo: Repo) -> None:
    found = find(repo(files={"a": "1"}))
    assert not found.is_ancestor("1" * 40, "HEAD")
    with pytest.raises(GitError, match="git knows no commit"):
        found.is_ancestor("HEAD", "1" * 40)
    assert not found.exists("1" * 40)
    assert not found.is_shallow


def test_a_shallow_clone_does_not_guess(repo: Repo, tmp_path: Path) -> None:
    made = repo(files={"a": "1"})
    first = made.head
    made.commit({"a": "2"})
    head = made.commit({"a": "3"})
    made.git("clone", "-q", "--depth=2", f"file://{made.path}", str(tmp_path / "clone"))
    found = Repository.find(tmp_path / "clone")
    assert found.is_shallow
    assert found.is_ancestor("HEAD~1", head)
    assert not found.is_ancestor(head, "HEAD~1")  # all that could matter is there
    for ask in (found.is_ancestor, found.contains_code):
        with pytest.raises(UndeterminedError, match="shallow") as caught:
            ask(first, head)
        assert "--unshallow" in (caught.value.hint or "")
    with pytest.raises(UndeterminedError):
        found.resolve(first)
    GitRepo(tmp_path / "clone").git("fetch", "-q", "--unshallow")
    assert not found.is_shallow
    assert found.is_ancestor(first, head)


def test_in_a_shallow_clone_an_unrelated_looking_pair_is_undetermined(repo: Repo, tmp_path: Path) -> None:
    made = repo(files={"a": "1"})
    old = made.commit({"a": "2"})
    made.git("branch", "old")
    made.commit({"a": "3"})
    made.commit({"a": "4"})
    made.git("clone", "-q", "--depth=1", "--no-single-branch", f"file://{made.path}", str(tmp_path / "clone"))
    found = Repository.find(tmp_path / "clone")
    assert found.exists(old)
    with pytest.raises(UndeterminedError):  # it is one, beyond the edge
        found.is_ancestor(old, "HEAD")
    with pytest.raises(UndeterminedError):
        found.contains_code(old, "HEAD")


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Lists every git that is started from now on."""
    calls: list[list[str]] = []
    real = subprocess.run

    def run(command, **rest):
        calls.append(command)
        return real(command, **rest)

    monkeypatch.setattr(git_process.subprocess, "run", run)
    return calls


def test_finding_and_reading_the_state_take_one_call_each(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = repo(files={"a": "1"})
    calls = count_calls(monkeypatch)
    found = Repository.find(made.path)
    assert found.main_root
    assert len(calls) == 1
    found.state()
    assert len(calls) == 2
