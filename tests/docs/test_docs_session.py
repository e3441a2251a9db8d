"""What plays the documentation notices what is wrong in it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from docs_session import BrokenExampleError, Session, agree, blocks_of, calls_of, played


def page(*lines: str) -> str:
    return "\n".join(lines)


def test_a_page_that_shows_what_is_printed_stays_as_it_is():
    text = page("# Title", "```console", "$ echo hello", "hello", "```", "")
    assert played(text, "page") == text


def test_an_output_that_is_not_as_shown_is_replaced():
    text = page("```console", "$ echo one", "two", "$ echo three", "```")
    assert played(text, "page") == page("```console", "$ echo one", "one", "$ echo three", "three", "```")


def test_times_ids_hashes_and_sizes_may_differ():
    shown = [
        "Run 1m7yk1fsjvnjhya8 of production succeeded in 13 s",
        "  flights  ran  17 s  336,776 rows  5.3 MB",
    ]
    printed = [
        "Run 1m7ym0gfzxy39hhb of production succeeded in 0.9 s",
        "  flights  ran  8 ms  336,776 rows  9 kB",
    ]
    assert agree(shown, printed)
    assert not agree(shown, [printed[0], printed[1].replace("336,776", "336,777")])
    assert not agree(shown, [printed[0].replace("production", "staging"), printed[1]])


def test_rows_may_come_in_any_order_but_none_may_be_missing():
    assert agree(["head", "  a  1", "  b  2", "tail"], ["head", "  b  2", "  a  1", "tail"])
    assert not agree(["head", "  a  1", "  b  2", "tail"], ["head", "  a  1", "tail"])


def test_dots_stand_for_any_lines_and_the_rest_must_be_there():
    assert agree(["first", "…", "last"], ["first", "x", "y", "last"])
    assert agree(["…", "last"], ["x", "last"])
    assert not agree(["first", "…", "last"], ["first", "x", "y"])
    assert not agree(["…", "last"], ["last", "x"])


def test_a_page_can_be_written_anew_where_only_times_differ():
    shown = page(
        "```console", "$ echo 'done in 3 s'", "done in 5 s", "$ printf 'a\\nb in 3 s\\nc\\n'", "…", "b in 5 s"
    )
    text = page(shown, "…", "```")
    assert played(text, "page") == text
    assert played(text, "page", anew=True) == text.replace("5 s", "3 s")


def test_a_command_that_fails_without_saying_so_breaks_the_page():
    with pytest.raises(BrokenExampleError, match=r"page:2: \$ false"):
        played(page("```console", "$ false", "```"), "page")


def test_a_diff_block_edits_the_one_place_that_it_names():
    lines = ["```console", "$ printf 'a\\nb\\n' > file.txt", "```", "```diff", "--- file.txt", "+++ file.txt"]
    text = page(*lines, " a", "-b", "+c", "```", "```console", "$ cat file.txt", "a", "c", "```")
    assert played(text, "page") == text
    with pytest.raises(BrokenExampleError, match=r"0 times in file\.txt"):
        played(page(*lines, "-x", "+y", "```"), "page")


def test_a_block_is_written_to_a_file_of_the_scratch_folder_and_nowhere_else():
    text = page(
        "<!-- write: a/b.txt -->",
        "```text",
        "content",
        "```",
        "```console",
        "$ cat a/b.txt",
        "content",
        "```",
    )
    assert played(text, "page") == text
    with pytest.raises(BrokenExampleError, match="outside of the scratch folder"):
        played(page("<!-- write: ../../b.txt -->", "```text", "content", "```"), "page")


def test_python_is_executed_and_what_it_prints_is_compared():
    text = page(
        "```python",
        "x = 1",
        "```",
        "```python",
        "print(x + 1)",
        "```",
        "<!-- output -->",
        "```text",
        "```",
        "",
    )
    assert played(text, "page") == text.replace("```text\n```", "```text\n2\n```")
    with pytest.raises(BrokenExampleError, match="page:2: ZeroDivisionError"):
        played(page("```python", "1 / 0", "```"), "page")


def test_a_toml_block_has_to_be_understood():
    played(page("```toml", "[gc]", 'grace = "1h"', "```"), "page")
    with pytest.raises(BrokenExampleError, match="page:2"):
        played(page("```toml", "[gc]", 'graze = "1h"', "```"), "page")


def test_a_session_leaves_the_process_as_it_was():
    before = (Path.cwd(), dict(os.environ), list(sys.path))
    with Session() as session:
        session.run("export SOMETHING=1")
        session.run("cd ..")
        assert os.environ["SOMETHING"] == "1"
        scratch = session.scratch
    assert (Path.cwd(), dict(os.environ), list(sys.path)) == before
    assert not scratch.exists()


def test_blocks_know_their_line_language_and_directive():
    (block,) = blocks_of(page("text", "", "<!-- write: a.py -->", "", "```python", "x = 1", "```"))
    assert (block.language, block.text, block.line, block.word, block.value) == (
        "python",
        "x = 1",
        6,
        "write",
        "a.py",
    )


def test_a_command_may_go_on_in_the_next_line():
    (block,) = blocks_of(page("```console", "$ echo 'a", "> b'", "a", "b", "```"))
    (call,) = calls_of(block)
    assert (call.command, call.shown) == ("echo 'a\nb'", ["a", "b"])


def test_commits_of_a_sandbox_are_alike_and_those_of_an_environment_are_not():
    assert agree(["production@1 → warmer@2"], ["production@1 → warmer@9"])
    assert not agree(["production@1 → warmer@2"], ["production@2 → warmer@2"])
    assert not agree(["production@1 → warmer@2"], ["production@1 → colder@2"])
