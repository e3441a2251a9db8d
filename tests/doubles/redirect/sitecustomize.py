"""Python imports this at its start where its folder is on PYTHONPATH: see `redirecting`."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import redirecting

HERE = Path(__file__).resolve().parent

if (HERE / "redirect.json").exists():
    redirecting.install(HERE)

# The one that this one hides, if there is any.
elsewhere = [folder for folder in sys.path if Path(folder or ".").resolve() != HERE]
hidden = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
if hidden is not None and hidden.loader is not None:
    hidden.loader.exec_module(importlib.util.module_from_spec(hidden))
