"""Makes a project with many small assets in a git repository: the ground for the benches of planning and running."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SETTINGS = """[project]
name = "big"
definitions = "big.definitions:defs"

[environments.production]
git_branch = "main"
"""


def git(folder: Path, *arguments: str) -> None:
    """Runs git, apart from the user's own configuration."""
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        environ |= {f"GIT_{role}_NAME": "Bench", f"GIT_{role}_EMAIL": "bench@example.com"}
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, env=environ)


def make_project(folder: Path, assets: int, *, modules: int = 50) -> Path:
    """A repository with ``assets`` assets in layers: half Python in several modules with shared helpers, half SQL.

    Args:
        folder: Where; must not exist.
        assets: How many.
        modules: Over how many modules the Python assets are spread.
    """
    package = folder / "big"
    package.mkdir(parents=True)
    (folder / "anabranch.toml").write_text(SETTINGS)
    (folder / ".gitignore").write_text(".anabranch/\n__pycache__/\n")
    (package / "__init__.py").write_text("")
    (package / "helpers.py").write_text(
        "FACTOR = 2\n\n\ndef scale(values):\n    return [value * FACTOR for value in values]\n"
    )
    modules = min(modules, max(1, assets // 4))
    python = {module: [] for module in range(modules)}
    sql: list[str] = []
    for number in range(assets):
        if number % 2 == 0:
            module = (number // 2) % modules
            upstream = f"a{number - 1}" if number > 10 and number % 10 else ""
            parameter = f"{upstream}: pa.Table" if upstream else ""
            source = f'{upstream}["n"].to_pylist()' if upstream else "[1, 2, 3]"
            python[module].append(
                f"@ab.asset\ndef a{number}({parameter}) -> pa.Table:\n"
                f'    import pyarrow as pa\n    return pa.table({{"n": scale({source})}})\n'
            )
        else:
            sql.append(
                f'    ab.sql("a{number}", "select n + {number} as n from a{number - 1} where n is not null"),\n'
            )
    names = []
    for module, bodies in python.items():
        text = "from __future__ import annotations\n\nimport anabranch as ab\nfrom big.helpers import scale\n\nTYPE_CHECKING = False\nif TYPE_CHECKING:\n    import pyarrow as pa\n\n\n"
        (package / f"part{module}.py").write_text(text + "\n\n".join(bodies))
        names.append(f"part{module}")
    listing = "".join(
        f"    *[v for v in vars({name}).values() if isinstance(v, ab.Asset)],\n" for name in names
    )
    (package / "definitions.py").write_text(
        f"import anabranch as ab\nfrom big import {', '.join(names)}\n\ndefs = ab.Definitions(assets=[\n{listing}{''.join(sql)}])\n"
    )
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "Start")
    return folder


def sql_query(number: int, upstream: str, constant: int) -> str:
    """The query of one model: chains of ten, each made from the one before.

    Args:
        number: Which model.
        upstream: How the query names the model before it.
        constant: What it adds; another one is another version of the model, which breaks those who read it.
    """
    if number % 10 == 0:
        return f"select range + {constant} as n\nfrom range(3)\n"
    return f"select n + {constant} as n\nfrom {upstream}\nwhere n is not null\n"


def make_sql_project(folder: Path, assets: int) -> Path:
    """A repository with ``assets`` SQL assets in chains of ten, each query in a file of its own.

    Args:
        folder: Where; must not exist.
        assets: How many.
    """
    queries = folder / "big" / "sql"
    queries.mkdir(parents=True)
    (folder / "anabranch.toml").write_text(SETTINGS)
    (folder / ".gitignore").write_text(".anabranch/\n__pycache__/\n")
    (folder / "big" / "__init__.py").write_text("")
    for number in range(assets):
        (queries / f"a{number}.sql").write_text(sql_query(number, f"a{number - 1}", number))
    (folder / "big" / "definitions.py").write_text(
        "import anabranch as ab\n\n"
        f'defs = ab.Definitions(assets=[ab.sql(f"a{{n}}", file=f"sql/a{{n}}.sql") for n in range({assets})])\n'
    )
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "Start")
    return folder
