"""The proofs of reliability use the stories' small project; its folder is made importable for them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "story"))
