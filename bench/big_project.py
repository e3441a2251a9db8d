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
