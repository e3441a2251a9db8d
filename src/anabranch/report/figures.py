"""How a diff's numbers are worded, the same on a page and in a pull request."""

from __future__ import annotations

from anabranch.diff.rows import RowsDiff
from anabranch.diff.summary import Diff, TableDiff


def counted(number: int | None, noun: str) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{number or 0:,} {noun}" if number == 1 else f"{number or 0:,} {noun}s"


def signed(sign: str, number: int) -> str:
    """``+300``; a nought has no sign."""
    return f"{sign}{number:,}" if number else "0"


def percent(part: int, whole: int) -> str:
    """A share that is never rounded to nothing or to everything."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.01:
        return "<0.01 %"
    if 99.99 < share < 100:
        return ">99.99 %"
    return f"{share:.2f}".rstrip("0").rstrip(".") + " %"


def size_change(table: TableDiff) -> str:
    """``120,000 → 119,600 rows (−400)``; bytes for a file."""
    if table.kind == "file":
        sizes = [size for size in (table.left_bytes, table.right_bytes) if size is not None]
        return " → ".join(f"{size:,} bytes" for size in sizes)
    left, right = table.left_rows, table.right_rows
    if left is None or right is None or left == right:
        return counted(left if right is None else right, "row")
    return f"{left:,} → {right:,} rows ({signed('+' if right > left else '−', abs(right - left))})"


def totals(diff: Diff) -> tuple[int, int, int]:
    """Rows added, removed and changed in all tables."""
    rows = [table.rows for table in diff.tables if table.rows is not None]
    return sum(row.added for row in rows), sum(row.removed for row in rows), sum(row.changed for row in rows)


def how(table: TableDiff, rows: RowsDiff) -> str:
    """A sentence on what the counts rest on."""
    if table.state != "changed":
        return "There is one side only: its rows are counted, not compared."
    basis = "row by row under the key" if rows.keyed else "as a multiset of rows, for there is no key"
    shared = (
        f", {counted(rows.files_shared, 'file')} shared by both sides and not read"
        if rows.files_shared
        else ""
    )
    return f"Exact: compared {basis}; {counted(rows.files_read, 'file')} read{shared}; {rows.seconds:.2f} s."
