"""`sync`, `--base` and `--sample` on the command line: what is printed, and with which exit code."""

from __future__ import annotations

import pytest

from anabranch.cli.reference import all_commands

MASKED = """
[project]
name = "shop"
definitions = "shop.definitions:defs"

[environments.production]
git_branch = "main"

[run]
in_process = true

[environments.staging]
derived_from = "production"
mask_key = "${STAGING_MASK_KEY}"

[environments.staging.masks]
pii = "hash"
"""


@pytest.fixture
def masked(make_shop, monkeypatch):
    monkeypatch.setenv("STAGING_MASK_KEY", "a secret that is long enough")
    made = make_shop(settings=MASKED)
    made.edit('key=["id"])', 'key=["id"], columns={"id": ab.keep, "item": ab.pii})')
    made.ok("run")
    return made


def shape(command: str) -> set[str]:
    return set(all_commands()[command].shape)


def test_sync_tells_what_is_masked_by_which_rule_and_what_nobody_has_declared(masked):
    done = masked.ok("sync", "--dry-run")
    assert "mask  orders   it is new, 3 rows  item hash, amount null" in done.out
    assert "4 columns masked because nobody has declared them:" in done.out
    assert done.last == "next: anabranch sync staging"
    told = masked.ok("sync", "--json").json
    assert set(told) == shape("sync")
    assert told["state"] == "published"
    assert told["commit"] == "staging@1"
    assert told["undeclared"]["orders"] == ["amount"]
    assert "staging is up to date" in masked.ok("sync", "staging").out
    assert masked.ok("log", "staging").out.splitlines()[0].startswith("staging@1")


def test_show_and_status_tell_of_masks(masked):
    masked.ok("sync")
    assert (
        "item hash, amount null (nobody has declared it); copied from production@1"
        in masked.ok("show", "orders@staging").out
    )
    masked.branch()
    masked.ok("sandbox", "open", "--base", "staging")
    assert "staging is a masked copy of production" in masked.ok("status").out
    assert masked.ok("status", "--json").json["masked"] == "production"
    refused = masked("run")
    assert refused.code == 3
    assert "orders is a source, and what it brings is not masked" in refused.err
    refused = masked("promote", "--yes")
    assert refused.code == 3
    assert "a masked copy of production" in refused.err


def test_a_sync_that_is_refused_has_the_documented_exit_codes(masked, monkeypatch):
    assert masked("sync", "production").code == 2
    masked.branch()
    refused = masked("sync")
    assert refused.code == 3
    assert "decided by the code of main" in refused.err
    monkeypatch.delenv("STAGING_MASK_KEY")
    assert masked("sync", "--dry-run").code == 2


def test_a_sample_is_told_wherever_it_counts(make_shop):
    built = make_shop()
    built.ok("run")
    built.branch(old='[("amount", "sum")]', new='[("amount", "max")]')
    opened = built.ok("sandbox", "open", "--sample", "40%", "--sample-by", "id", "--json").json
    assert opened["sample"] == "40 % sample by id"
    assert "base production@1, 40 % sample by id" in built.ok("plan").out
    assert built.ok("plan", "--json").json["sample"] == "40 % sample by id"
    built.ok("run")
    assert "40 % sample by id" in built.ok("status").out
    assert "of a 40 % sample by id" in built.ok("check").out
    asked = built.ok("sql", "from totals")
    assert "totals is of a 40 % sample by id" in asked.err
    assert built.ok("sql", "from totals", "--json").json["samples"] == {"totals": "40 % sample by id"}
    assert "40 % sample by id" in built.ok("diff").out
    assert "40 % sample by id" in built.ok("show", "totals").out
    refused = built("promote", "--yes")
    assert refused.code == 3
    assert "totals was computed from a 40 % sample by id" in refused.err
    built.ok("run", "--sample", "none")
    assert "sample" not in built.ok("status").out
    assert built.ok("promote", "--yes").code == 0


def test_a_share_that_is_none_is_exit_code_2(make_shop):
    built = make_shop()
    built.ok("run")
    built.branch()
    refused = built("run", "--sample", "many")
    assert refused.code == 2
    assert "'many' is no share of the rows" in refused.err
