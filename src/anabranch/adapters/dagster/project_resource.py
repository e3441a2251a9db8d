"""`AnabranchResource`: a project's tables for ops and assets of new Dagster code, all read at one commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import PrivateAttr

from anabranch.project import Project

if TYPE_CHECKING:
    import duckdb

    from anabranch.lake.file import StoredFile
    from anabranch.lake.tables import Table


class AnabranchResource(dg.ConfigurableResource[Any]):
    """A project, pinned: whatever ref is read first means the same commit until the process that executes has finished.

    Without a ref, it reads where the code is for: the environment, or the sandbox of the git branch.

    Attributes:
        folder: A folder inside the project, where anabranch.toml is found.
    """

    folder: str = "."

    _project: Project | None = PrivateAttr(default=None)

    @property
    def project(self) -> Project:
        """The project; opened when it is first asked for."""
        if self._project is None:
            self._project = Project(self.folder)
        return self._project

    def table(self, key: str, at: str | None = None) -> Table:
        """A handle on a table: ``anabranch.table("delays", at="production").to_polars()``.

        Raises:
            RefError: no such ref, or no such table there.
        """
        return self.project.table(key, at)

    def file(self, key: str, at: str | None = None) -> StoredFile:
        """A handle on an asset that is a file."""
        return self.project.file(key, at)

    def sql(self, query: str, at: str | None = None) -> duckdb.DuckDBPyRelation:
        """Queries the tables of a ref with DuckDB, all at one commit."""
        return self.project.sql(query, at)

    def teardown_after_execution(self, context: Any) -> None:  # noqa: ARG002 - as Dagster calls it
        """Releases the catalog."""
        if self._project is not None:
            self._project.close()
            self._project = None
