"""Run as a program by the tests of contention: promotes one sandbox when it is told to, and tells what came of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from anabranch.catalog import open_catalog
from anabranch.catalog.base import Entry, Provenance
from anabranch.errors import ConflictError
from anabranch.gate import TableChange
from anabranch.lake.storage import Storage
from anabranch.lake.tables import write_file_asset
from anabranch.pipeline.graph import Graph
from anabranch.promotion import Evidence, bring_up, prepare, publish
from anabranch.settings.models import Rules

SAYS_YES = Evidence(
    lambda key, *_: TableChange(key, rows_removed=0), lambda _: None, lambda *_: None, (), "Ada"
)


def entry(storage: Storage, key: str, number: int, inputs: Mapping[str, str] | None = None) -> Entry:
    """A file asset that holds a number."""
    written = write_file_asset(storage, key, b"%d" % number)
    made = Provenance(fingerprint=f"{key}={number}", inputs=inputs or {})
    return Entry(key, "file", written.location, written.version, made)


def number_of(storage: Storage, found: Entry) -> int:
    return int(storage.read_bytes(found.location))


def merge(own: Entry, old: Entry, new: Entry) -> Entry:
    raise AssertionError(f"{own.key} has no partitions to be merged")


def main(folder: Path, name: str) -> dict[str, object]:
    catalog = open_catalog(f"sqlite:///{folder / 'catalog.db'}")
    print("ready", flush=True)
    sys.stdin.readline()
    tries = 0
    while True:
        tries += 1
        production = catalog.branch("production")
        options = {"author": "Ada", "git_commit": None, "merge": merge}
        try:
            branch, _ = bring_up(catalog, catalog.branch(name), production, stale_inputs="rerun", **options)
            prepared = prepare(catalog, branch, production, Graph([]), Rules(), SAYS_YES)
            publish(catalog, prepared, **options, definitions="", git_branch=name)
            return {"state": "published", "tries": tries}
        except ConflictError as error:
            if error.facts["key"] is not None:
                return {"state": "refused", **error.to_dict()}
        finally:
            catalog.close()


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
