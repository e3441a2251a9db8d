"""anabranch.toml: what a project is called, where its data lives, which environments it has and by which rules.

A mistake in the file is one sentence with its line. This floor asks no git, and knows nothing of the catalog or of the pipeline,
and reads no home folder. Importing it takes pydantic along (some 85 ms): import it where a command needs settings.
"""

from anabranch.settings.clones import (
    BaseClone,
    CloneSettings,
    DuckDBClone,
    LakeFSClone,
    PostgresClone,
    SnowflakeClone,
    SQLiteClone,
)
from anabranch.settings.deciding import Decision, PullRequest, decide
from anabranch.settings.fields import RowLimit
from anabranch.settings.load import FILE_NAME, find_settings, load_settings
from anabranch.settings.models import (
    Environment,
    Gc,
    History,
    Project,
    Rules,
    Run,
    Sandboxes,
    Settings,
    Warehouse,
)
from anabranch.settings.reference import Reference, settings_reference

__all__ = [
    "FILE_NAME",
    "BaseClone",
    "CloneSettings",
    "Decision",
    "DuckDBClone",
    "Environment",
    "Gc",
    "History",
    "LakeFSClone",
    "PostgresClone",
    "Project",
    "PullRequest",
    "Reference",
    "RowLimit",
    "Rules",
    "Run",
    "SQLiteClone",
    "Sandboxes",
    "Settings",
    "SnowflakeClone",
    "Warehouse",
    "decide",
    "find_settings",
    "load_settings",
    "settings_reference",
]
