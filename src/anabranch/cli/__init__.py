"""The command line: a face of `anabranch.project`, and the only part that prints.

Starts quickly: what a command needs is imported when it runs.
"""

from anabranch.cli.main import main

__all__ = ["main"]
