"""How much the tests that draw at random draw: enough to find what a change breaks, or with ``THOROUGH=10`` ten times that."""

from __future__ import annotations

import os


def effort(count: int) -> int:
    """So many examples, seeds or kills; `make thorough` asks for more."""
    return count * int(os.environ.get("THOROUGH", "1"))
