"""A sample of the base that a sandbox computes with: which share of the rows, and by which column they are chosen.

A word that settings, the planner, the lake and the reports share. Which rows belong to a sample is decided in
`anabranch.lake.sample`, and nowhere else.
"""

from __future__ import annotations

import re
from fractions import Fraction

from anabranch.dataclass import dataclass
from anabranch.errors import AnabranchError

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%", re.ASCII)


@dataclass(frozen=True)
class Sample:
    """A deterministic sample: the rows whose key's hash lies in the lowest share of all hashes.

    Attributes:
        share: As a part of one: ``1/20``.
        by: The column by which rows are chosen, in every table that has it; None: by a table's own row key.
    """

    share: Fraction
    by: str | None = None

    @property
    def percent(self) -> str:
        """``5%``."""
        return f"{float(self.share * 100):.6f}".rstrip("0").rstrip(".") + "%"

    def __str__(self) -> str:
        return f"{self.percent[:-1]} % sample" + (f" by {self.by}" if self.by else "")

    def to_dict(self) -> dict[str, str | None]:
        """Plain JSON values: ``{"share": "5%", "by": "customer_id"}``."""
        return {"share": self.percent, "by": self.by}


def parse_share(text: str) -> Fraction | None:
    """``5%``, ``0.5 %``; None for ``none`` and ``100%``: no sample at all.

    Raises:
        AnabranchError: it is no share, or nothing at all.
    """
    if text.strip().lower() == "none":
        return None
    found = _SHARE.fullmatch(text.strip())
    share = Fraction(found[1]) / 100 if found else None
    if share is None or not 0 < share <= 1:
        raise AnabranchError(
            f"{text!r} is no share of the rows", hint='write it like "5%", or "none" for all of them'
        )
    return None if share == 1 else share


def parse_sample(text: str, by: str | None = None) -> Sample | None:
    """A sample of a share and a column; None where the share is all. Raises AnabranchError as `parse_share` does."""
    share = parse_share(text)
    return None if share is None else Sample(share, by)
