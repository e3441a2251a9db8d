"""The versioned map *key → table version*: branches, commits, entries.

Stays light: importing the package loads neither a database driver nor a back end; `open_catalog` does.
"""

from __future__ import annotations

from pathlib import Path

from anabranch.catalog.base import Catalog
from anabranch.errors import CatalogError


def open_catalog(url: str) -> Catalog:
    """Opens the catalog at a URL, and makes it if it is not there.

    Args:
        url: ``sqlite:///path/to/file`` (relative to the working folder), ``sqlite:////absolute/path``, or
            ``memory://`` for a new one that ends with the process.

    Raises:
        CatalogError: the URL names no known kind of catalog, or what it names is no catalog.
        CatalogVersionError: the catalog was written by a newer program.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "memory":
        from anabranch.catalog.memory import MemoryCatalog

        return MemoryCatalog()
    if separator and scheme == "sqlite":
        path = rest.removeprefix("/")
        if not rest.startswith("/") or not path or path == ":memory:":
            raise CatalogError(
                f"{url!r} names no file",
                hint="write it like sqlite:///.anabranch/catalog.db; memory:// is a catalog without a file",
            )
        from anabranch.catalog.dialect import SqliteDialect
        from anabranch.catalog.sql import SqlCatalog

        return SqlCatalog(SqliteDialect(Path(path)))
    if separator and scheme in ("postgresql", "postgres"):
        raise CatalogError(
            "a catalog on PostgreSQL is not part of this release",
            hint="it comes later, with the extra anabranch[postgres]; until then use sqlite:///path",
        )
    raise CatalogError(
        f"{url!r} is not the URL of a catalog", hint="write it like sqlite:///.anabranch/catalog.db"
    )
