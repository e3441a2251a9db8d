"""The file that keeps what was computed from texts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from anabranch.pipeline import kept
from anabranch.pipeline.kept import Kept, kept_in


def test_one_store_sees_what_another_has_kept(tmp_path):
    one, other = Kept(tmp_path / "made" / "a"), Kept(tmp_path / "made" / "a")
    assert other.get("k") is None
    one.put("k", [1, None, {"a": "b"}])
    assert other.get("k") == [1, None, {"a": "b"}]
    other.put("k", 2)
    assert Kept(tmp_path / "made" / "a").get("k") == 2


def test_lines_that_are_damaged_are_passed_over(tmp_path):
    file = tmp_path / "a"
    Kept(file).put("k", 1)
    whole = file.read_bytes()
    file.write_bytes(b'{"key": 1}\nnot json\n[]\n[1, 2]\n3\n\xff\n' + whole + whole[:4])
    assert Kept(file).get("k") == 1
    assert Kept(file).get("other") is None


def test_a_line_after_one_that_was_cut_off_is_lost_alone(tmp_path):
    file = tmp_path / "a"
    Kept(file).put("k", 1)
    file.write_bytes(file.read_bytes() + b'["cut')
    Kept(file).put("lost", 1)
    Kept(file).put("found", 1)
    store = Kept(file)
    assert (store.get("k"), store.get("lost"), store.get("found")) == (1, None, 1)


def test_many_processes_write_one_file(tmp_path):
    code = (
        "import pathlib, sys\n"
        "from anabranch.pipeline.kept import Kept\n"
        f"store = Kept(pathlib.Path({str(tmp_path / 'a')!r}))\n"
        "for n in range(200):\n"
        "    store.put(f'{sys.argv[1]}.{n}', 'x' * 3000)\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(n)]) for n in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    store = Kept(tmp_path / "a")
    assert all(store.get(f"{process}.{n}") for process in range(4) for n in range(200))


def test_a_file_that_has_grown_keeps_its_newer_half(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "MAX_BYTES", 10_000)
    store = Kept(tmp_path / "a")
    for n in range(100):
        store.put(str(n), "x" * 300)
    assert (tmp_path / "a").stat().st_size <= 10_000
    later = Kept(tmp_path / "a")
    assert later.get("99") is not None
    assert later.get("0") is None
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_can_not_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    store = Kept(tmp_path / "file" / "a")
    store.put("k", 1)
    assert store.get("k") == 1


@pytest.mark.parametrize("key", ["", "ä\n", "\ud800"])
def test_any_text_is_a_key(tmp_path, key):
    Kept(tmp_path / "a").put(key, key)
    assert Kept(tmp_path / "a").get(key) == key


def test_all_who_ask_for_a_file_share_one_store(tmp_path):
    assert kept_in(tmp_path / "a") is kept_in(tmp_path / "a")
