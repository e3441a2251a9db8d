"""A masked environment: what comes into it, what never does, and what a sync costs."""

from __future__ import annotations

import json

import pytest
from masked_world import DEFINITIONS, SETTINGS, notes_of, search
from story_shop import ran

from anabranch.errors import (
    BranchExistsError,
    DirtyError,
    MaskError,
    PromotionError,
    SecretError,
    SettingsError,
)
from anabranch.planning.world import is_copy


def actions(result) -> dict[str, str]:
    return {step.key: step.action for step in result.steps}


def entries(people, ref: str) -> dict:
    people.project.context.refresh()
    return people.project.tables(ref)


def branch(people, name: str):
    return people.project.context.catalog.branch(name)


# what it holds


def test_each_column_is_masked_by_its_rule_and_what_nobody_declared_is_null(people):
    people.sync()
    rows = people.rows("people", "staging")
    real = people.rows("people", "production")
    assert [row["city"] for row in rows] == [row["city"] for row in real]
    assert [row["pay"] for row in rows] == [50_000] * 4
    assert [row["note"] for row in rows] == [None] * 4
    assert not {row["email"] for row in rows} & {row["email"] for row in real}
    assert all(len(row["email"]) == 32 for row in rows)
    assert len({row["id"] for row in rows}) == 4
    assert all(isinstance(row["name"], str) and "CANARY" not in row["name"] for row in rows)


def test_tables_of_the_masked_environment_join_as_they_do_in_production(people):
    people.sync()
    query = "select count(*) from people join spending using (email)"
    found = people.project.sql(query, "staging").fetchall()
    assert found == people.project.sql(query, "production").fetchall() == [(4,)]


def test_a_sync_tells_which_columns_nobody_has_declared(people):
    result = people.sync(dry_run=True)
    assert result.undeclared == {"people": ("note",)}
    assert result.state == "dry_run"
    assert people.project.context.find_branch("staging") is None


def test_an_undeclared_new_column_is_masked_until_somebody_declares_it(people):
    people.sync()
    new = '.rename_columns(["email", "total"]).append_column("who", table["email"])'
    people.edit(
        "people/definitions.py",
        '    return people.group_by("email").aggregate([("pay", "sum")]).rename_columns(["email", "total"])',
        '    table = people.group_by("email").aggregate([("pay", "sum")])\n    return table' + new,
    )
    people.commit()
    assert people.run().ok
    assert people.sync().undeclared["spending"] == ("who",)
    assert {row["who"] for row in people.rows("spending", "staging")} == {None}
    people.edit("people/definitions.py", '"total": salary}', '"total": salary, "who": ab.pii}')
    people.commit()
    assert people.run().ok
    result = people.sync()
    assert actions(result)["spending"] == "mask"
    assert "spending" not in result.undeclared
    rows = people.rows("spending", "staging")
    assert [row["who"] for row in rows] == [row["email"] for row in rows]


def test_a_required_column_that_is_set_to_null_becomes_optional(people):
    people.sync()
    assert not people.project.table("people", at="production").schema.field("note").nullable
    assert people.project.table("people", at="staging").schema.field("note").nullable


def test_a_setting_for_the_column_goes_before_the_assets_rule_and_that_before_the_tags(make_people):
    settings = SETTINGS.replace("salary = ", '"people.name" = "null"\n"people.pay" = "keep"\nsalary = ')
    people = make_people(settings=settings)
    people.run()
    people.sync()
    rows = people.rows("people", "staging")
    assert [row["name"] for row in rows] == [None] * 4
    assert [row["pay"] for row in rows] == [row["pay"] for row in people.people]
    assert all(row["email"] for row in rows)


def test_provenance_says_what_was_masked_and_of_what(people):
    people.sync()
    made = entries(people, "staging")["people"].provenance
    assert made.extra["masked"]["columns"] == {
        "id": "hash", "name": "fake:name", "email": "hash", "pay": "bucket:1000", "city": "keep", "note": "null",
    }  # fmt: skip
    assert made.extra["parent"]["ref"] == "production@1"
    assert made.extra["row_key"] == ["id"]
    assert made.environment == "staging"
    shown = people.project.show("people@staging").to_dict()["entry"]
    assert shown["masked"]["undeclared"] == ["note"]
    assert shown["masked_from"] == "production@1"


def test_what_was_declared_travels_with_the_table(people):
    found = people.project.table("people", at="production").metadata["properties"]["anabranch.columns"]
    assert json.loads(found)["name"] == {"tag": "pii", "rule": "fake:name"}
    people.edit("people/definitions.py", "assets=[people, spending, cities]", "assets=[people, cities]")
    people.commit()
    people.run()
    people.sync()
    assert all(len(row["email"]) == 32 for row in people.rows("spending", "staging"))


# what it costs


def test_a_table_whose_parent_and_rules_have_not_changed_costs_nothing(people):
    people.sync()
    first = entries(people, "staging")
    result = people.sync()
    assert result.state == "nothing"
    assert set(actions(result).values()) == {"same"}
    assert people.head("staging") == 1
    people.hire(5)
    people.run()
    result = people.sync()
    assert actions(result)["people"] == "mask"
    people.edit("people/definitions.py", "where they live", "the city")
    people.commit()
    assert entries(people, "staging@1") == first


def test_code_that_makes_the_same_content_again_moves_provenance_and_no_byte(people):
    people.sync()
    before = entries(people, "staging")["cities"]
    people.edit(
        "people/definitions.py", "count(*) as people from people", "count(*) as people from people where true"
    )
    people.commit()
    people.run()
    result = people.sync()
    assert actions(result)["cities"] == "note"
    after = entries(people, "staging")["cities"]
    assert after.location == before.location
    assert after.provenance.code != before.provenance.code
    assert (result.rows, result.bytes) == (0, 0) or actions(result)["people"] == "mask"


def test_a_changed_rule_masks_the_tables_that_it_is_about_and_no_other(people):
    people.sync()
    people.edit("anabranch.toml", "bucket:1000", "bucket:100000")
    people.commit()
    assert actions(people.sync()) == {"people": "mask", "spending": "mask", "cities": "same"}
    assert {row["pay"] for row in people.rows("people", "staging")} == {0}


def test_another_key_masks_anew_what_is_keyed(people, monkeypatch):
    people.sync()
    before = people.rows("people", "staging")
    monkeypatch.setenv("STAGING_MASK_KEY", "another-secret-that-is-long-enough")
    assert actions(people.sync()) == {"people": "mask", "spending": "mask", "cities": "same"}
    after = people.rows("people", "staging")
    assert not {row["email"] for row in before} & {row["email"] for row in after}


def test_a_table_that_grew_by_files_has_only_these_masked(people):
    from anabranch.catalog.base import CommitRequest, Entry
    from anabranch.lake.storage import Scope
    from anabranch.lake.tables import Table, append_table

    people.sync()
    first = entries(people, "staging")["people"]
    context = people.project.context
    production = branch(people, "production")
    old = context.catalog.get(production.point, "people")
    storage = context.storage(Scope.environment())
    before = Table("people", old.location, storage, version=old.version)
    import pyarrow as pa
    from masked_world import person

    written = append_table(
        storage, "people", pa.Table.from_pylist([person(77)], before.schema), previous=before
    )
    entry = Entry("people", "table", written.location, written.version, old.provenance)
    context.catalog.commit(CommitRequest(branch=production.id, changes={"people": entry}))
    result = people.sync()
    assert actions(result)["people"] == "append"
    after = entries(people, "staging")["people"]
    files = {f.path for f in people.project.table("people", at="staging").files()}
    assert {f.path for f in context.handle(first).files()} < files
    assert len(people.rows("people", "staging")) == 5
    assert search(context, [branch(people, "staging")], [*people.people, person(77)]) == []
    assert after.version != first.version


def test_a_table_whose_parent_is_gone_goes(people):
    people.sync()
    people.edit("people/definitions.py", "assets=[people, spending, cities]", "assets=[people, spending]")
    people.commit()
    people.run(prune=True)
    assert actions(people.sync())["cities"] == "drop"
    assert sorted(entries(people, "staging")) == ["people", "spending"]


def test_a_file_is_taken_over_only_where_it_is_named(make_people):
    more = """
@ab.asset
def report(cities: pa.Table) -> ab.File:
    return ab.File(b"CANARY report", name="report.txt")

defs = ab.Definitions("""
    definitions = DEFINITIONS.replace("\ndefs = ab.Definitions(", more).replace(
        "spending, cities]", "spending, cities, report]"
    )
    people = make_people(definitions=definitions)
    people.run()
    assert actions(people.sync())["report"] == "leave"
    assert "report" not in entries(people, "staging")
    people.edit("anabranch.toml", "derived_from", 'keep_files = ["report"]\nderived_from')
    people.commit()
    assert actions(people.sync())["report"] == "mask"
    people.project.context.refresh()
    assert people.project.file("report", at="staging").read_bytes() == b"CANARY report"
    assert people.sync().state == "nothing"


# what it never holds


def test_no_file_that_the_masked_world_can_read_holds_an_unmasked_byte(people):
    people.sync()
    people.hire(5, 6, mark="NEW")
    people.run()
    people.sync()
    people.switch("feature", new=True)
    people.edit("people/definitions.py", "select city, count(*)", "select upper(city) as city, count(*)")
    people.edit("people/definitions.py", '"sum")])', '"max")])')
    assert sorted(ran(people.run())) == ["cities", "spending"]
    people.project.check()
    people.project.diff()
    context = people.project.context
    worlds = [branch(people, "staging"), branch(people, "feature")]
    assert search(context, worlds, people.people) == []
    # The search does find what is there: production's own files hold all of it.
    assert search(context, [branch(people, "production")], people.people)


def test_the_logs_of_a_masked_sandbox_and_its_cached_results_hold_no_unmasked_value(people):
    people.sync()
    people.switch("feature", new=True)
    people.edit("people/definitions.py", "select city", "select lower(city) as city")
    people.edit(
        "people/definitions.py",
        "ab.unique(people)",
        "ab.unique(people), ab.accepted_values(people, 'email', ['x'])",
    )
    before = notes_of(people.folder / ".anabranch" / "catalog.db")
    result = people.run()
    people.project.check(fresh=True)
    logs = [p for p in (people.folder / ".anabranch" / "runs" / result.id).rglob("*") if p.is_file()]
    assert logs
    text = "".join(p.read_text() for p in logs) + notes_of(people.folder / ".anabranch" / "catalog.db")
    assert "CANARY" not in before
    assert "CANARY" not in text
    assert "secret.example" not in text


def test_the_masked_environment_is_a_root_of_its_own(people):
    people.sync()
    staging = branch(people, "staging")
    assert staging.parent is None
    warehouse = people.project.context.storage().warehouse
    folder = f"{warehouse}/_masked/{staging.properties['storage']}/"
    assert all(entry.location.startswith(folder) for entry in entries(people, "staging").values())


def test_the_catalog_finds_no_masked_result_for_production_and_none_of_productions_for_a_masked_sandbox(
    people,
):
    people.sync()
    catalog = people.project.context.catalog
    marks = {
        ref: {e.provenance.fingerprint for e in entries(people, ref).values()}
        for ref in ("staging", "production")
    }
    assert not marks["staging"] & marks["production"]
    # A sandbox on production computes a change; the same change on the masked base is computed again.
    people.switch("first", new=True)
    people.project.sandbox.open(base="production")
    people.edit("people/definitions.py", "select city, count(*)", "select upper(city) as city, count(*)")
    assert ran(people.run()) == ["cities"]
    people.commit()
    people.git("switch", "-q", "-c", "second")
    assert ran(people.run()) == ["cities"]
    assert branch(people, "second").parent == branch(people, "staging").id
    people.git("switch", "-q", "-c", "third")
    done = people.run()
    assert ran(done) == []
    assert done.execution.outcomes["cities"].state == "adopted"
    own = catalog.get(branch(people, "third").point, "cities")
    assert own.location == catalog.get(branch(people, "second").point, "cities").location


# sandboxes on it


def test_nothing_is_to_be_run_in_a_sandbox_on_a_masked_base_where_nothing_changed(people):
    people.sync()
    people.switch("feature", new=True)
    assert set(people.actions().values()) == {"reuse"}
    assert ran(people.run()) == []


def test_a_sandbox_on_a_masked_base_computes_from_masked_inputs(people):
    people.sync()
    people.switch("feature", new=True)
    people.edit("people/definitions.py", '"sum")])', '"max")])')
    assert ran(people.run()) == ["spending"]
    rows = people.rows("spending")
    assert {row["total"] for row in rows} == {50_000}
    entry = entries(people, "feature")["spending"]
    assert entry.provenance.extra["masked"] == {"environment": "staging"}
    assert not is_copy(entry)


def test_code_that_is_taken_back_is_the_bases_again_without_running(people):
    people.sync()
    people.switch("feature", new=True)
    people.edit("people/definitions.py", '"sum")])', '"max")])')
    people.run()
    people.edit("people/definitions.py", '"max")])', '"sum")])')
    assert ran(people.run()) == []
    catalog = people.project.context.catalog
    assert catalog.own(branch(people, "feature").point) == {}


def test_a_source_whose_code_changed_is_refused_in_a_sandbox_on_a_masked_base(people):
    people.sync()
    people.switch("feature", new=True)
    people.edit("people/definitions.py", "read_text())", "read_text())[:2]")
    with pytest.raises(MaskError, match="people is a source, and what it brings is not masked") as caught:
        people.run()
    assert "unmasked_sources" in caught.value.hint
    with pytest.raises(MaskError):
        people.run(refresh=["people"])
    assert people.project.context.catalog.own(branch(people, "feature").point) == {}
    assert search(people.project.context, [branch(people, "feature")], people.people) == []


def test_a_source_that_is_named_harmless_may_run_there(people):
    people.sync()
    people.switch("feature", new=True)
    people.edit("anabranch.toml", "derived_from", 'unmasked_sources = ["people"]\nderived_from')
    people.edit("people/definitions.py", "read_text())", "read_text())[:2]")
    assert "people" in ran(people.run())


def test_nothing_that_was_computed_from_masked_data_is_promoted(people):
    people.sync()
    people.switch("feature", new=True)
    people.edit("people/definitions.py", "select city, count(*)", "select upper(city) as city, count(*)")
    people.commit()
    people.run()
    for attempt in (people.promote, lambda: people.promote(dry_run=True), people.project.approve):
        with pytest.raises(PromotionError, match="a masked copy of production") as caught:
            attempt()
        assert "git switch main" in caught.value.hint
    assert (people.head(), people.head("staging")) == (1, 1)


def test_the_code_of_a_masked_sandbox_reaches_production_by_a_merge(people):
    people.sync()
    people.switch("feature", new=True)
    people.edit("people/definitions.py", "select city, count(*)", "select upper(city) as city, count(*)")
    people.commit()
    people.run()
    people.switch("main")
    people.git("merge", "-q", "feature")
    assert "cities" in ran(people.run())
    assert {row["city"] for row in people.rows("cities", "production")} == {"ULM", "BONN"}
    people.sync()
    people.switch("feature")
    people.project.sandbox.sync()
    assert ran(people.run()) == []


def test_a_sandbox_stays_on_the_base_that_it_was_opened_on(people):
    people.sync()
    people.switch("feature", new=True)
    opened = people.project.sandbox.open(base="production")
    assert opened.sandbox.environment == "production"
    assert people.project.status().where.environment == "production"
    with pytest.raises(BranchExistsError, match="stands on production, not on staging"):
        people.project.sandbox.open(base="staging")


def test_status_says_that_the_base_is_masked_and_how_far_it_lags(people):
    people.sync()
    people.hire(9)
    people.run()
    people.switch("feature", new=True)
    people.run()
    status = people.project.status()
    assert status.masked == "production"
    assert any("1 commits behind" in note and "anabranch sync staging" in note for note in status.notes)


# who may sync, and what stands against it


def test_what_staging_shows_is_decided_on_the_parents_git_branch(people):
    people.switch("feature", new=True)
    people.edit("people/definitions.py", '"note": "nobody has declared this"', '"note": ab.keep')
    people.commit()
    with pytest.raises(MaskError, match="decided by the code of main"):
        people.sync()
    assert people.sync(dry_run=True).undeclared == {}
    people.switch("main")
    people.edit("people/definitions.py", '"note": "nobody has declared this"', '"note": ab.keep')
    with pytest.raises(DirtyError):
        people.sync()
    assert people.project.context.find_branch("staging") is None


def test_a_missing_key_is_an_error_and_nothing_is_written(people, monkeypatch):
    monkeypatch.delenv("STAGING_MASK_KEY")
    with pytest.raises(SecretError, match="STAGING_MASK_KEY"):
        people.sync()
    monkeypatch.setenv("STAGING_MASK_KEY", "short")
    with pytest.raises(SettingsError, match="fewer than 16"):
        people.sync()
    people.edit("anabranch.toml", 'mask_key = "${STAGING_MASK_KEY}"\n', "")
    people.commit()
    with pytest.raises(MaskError, match=r"people\.id has the rule hash, and the environment has no key"):
        people.sync()
    assert not (people.folder / ".anabranch" / "warehouse" / "_masked").exists()


def test_a_rule_that_does_not_fit_its_column_is_told_before_anything_is_written(people):
    people.edit("anabranch.toml", 'salary = "bucket:1000"', '"people.city" = "bucket:month"')
    people.commit()
    with pytest.raises(MaskError, match=r"people\.city: the rule bucket:month can't be applied to string"):
        people.sync()
    assert not (people.folder / ".anabranch" / "warehouse" / "_masked").exists()


def test_a_step_never_sees_the_key(make_people):
    definitions = DEFINITIONS.replace(
        "    rows = json.loads",
        '    import os\n    assert "STAGING_MASK_KEY" not in os.environ\n    rows = json.loads',
    )
    people = make_people(definitions=definitions)
    assert people.run().ok
    assert people.run(force=True, in_process=False, workers=1).ok


def test_an_environment_does_not_become_masked_under_the_same_name_nor_the_other_way_round(people):
    people.sync()
    people.edit("anabranch.toml", 'derived_from = "production"\nmask_key = "${STAGING_MASK_KEY}"', "")
    people.edit("anabranch.toml", '[environments.staging.masks]\npii = "hash"\nsalary = "bucket:1000"', "")
    people.switch("feature", new=True)
    with pytest.raises(SettingsError, match="staging was opened as a masked copy of production"):
        people.project.sandbox.open(base="staging")


def test_a_rollback_of_production_reaches_the_masked_environment_with_the_next_sync(people):
    people.sync()
    first = people.versions("staging")
    people.hire(5)
    people.run()
    people.sync()
    people.project.rollback(to="production@1")
    people.project.context.refresh()
    people.edit("people/definitions.py", "import json\n", "import json\n# mended\n")
    people.commit()
    people.sync()
    assert people.versions("staging") == first
