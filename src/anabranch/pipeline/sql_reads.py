"""Which columns of its inputs a query's result depends on, told from its text alone, on the safe side.

An asset need not run again for a column that it doesn't read, so a set that lacks one column would keep a wrong result
for ever, and a set with one too many costs a run at worst. Hence no query is resolved here as an engine would resolve it.
Instead: every name in the query counts as read from each input that could have a column of that name now or after a
change of its schema; what may stand for a whole row, for columns by their place, or is not known here, counts as all of
them. So a name that a new column would capture is in the set already, and the inputs' schemas need not be known.

Knows sqlglot's trees; knows nothing of assets, schemas or versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlglot import exp

Reads = dict[str, tuple[str, ...] | None]
"""Input → names of the columns that count, in lower case and sorted; None: all of them."""

# Nodes that are neither functions nor operators, and that hide no name: anything else makes everything unsure.
_KNOWN = """
    Alias All Any AtTimeZone Between Boolean Bracket Case CTE Column ColumnDef Comprehension Cube DataType DataTypeParam Distinct
    Except Filter From Group GroupingSets Having HavingMax Identifier IgnoreNulls In Intersect Interval Join
    Lambda Lateral Limit Literal Null Offset Order Ordered Parameter Placeholder Qualify RespectNulls Rollup Select Slice Star
    Subquery Table TableAlias Tuple Union Unnest Values Var Where Window WindowSpec With WithinGroup
"""
# Functions that stand for columns by a pattern or a place, or that take the name of a table.
_UNSURE_FUNCTIONS = frozenset({"columns", "unpack", "query", "query_table", "getvariable"})
_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "repeat"})
_TABLE_PARTS = frozenset({"this", "db", "catalog", "alias", "joins"})
# Where an identifier gives a name rather than looking for a column of that name.
_NAMING = frozenset({"Alias", "CTE", "TableAlias", "Table", "Window", "Column"})


def column_reads(statement: exp.Expr, tokens: Sequence[Any], inputs: Mapping[int, str]) -> Reads:
    """What a statement reads of each of its inputs.

    Args:
        statement: A parsed query.
        tokens: What it was parsed from.
        inputs: ``id`` of each table reference that names an input → the input's key.
    """
    keys = sorted(set(inputs.values()))
    if not _is_known(statement):
        return dict.fromkeys(keys)
    return _Reader(statement, inputs).reads(keys, _lost(statement, tokens))


def aliases(statement: exp.Expr) -> set[str]:
    """What a statement calls tables, its own and others, in lower case."""
    from sqlglot import exp

    tables = statement.find_all(exp.Table, exp.CTE, exp.Subquery)
    return {name.lower() for table in tables for name in (table.name, table.alias) if name}


def _is_known(statement: exp.Expr) -> bool:
    from sqlglot import exp

    structure = _structure()
    for node in statement.walk():
        if isinstance(node, exp.Func):
            if isinstance(node, exp.Columns) or _function(node) in _UNSURE_FUNCTIONS:
                return False
        elif not isinstance(node, (exp.Binary, exp.Unary)) and type(node) not in structure:
            return False
        if isinstance(node, exp.Join) and str(node.args.get("method") or "").upper() == "POSITIONAL":
            return False
        if (
            isinstance(node, exp.Table)
            and isinstance(node.this, exp.Func)
            and not (isinstance(node.this, exp.GenerateSeries) or _function(node.this) in _TABLE_FUNCTIONS)
        ):
            return False
    return True


def _lost(statement: exp.Expr, tokens: Sequence[Any]) -> set[str]:
    """Words of the text that are nowhere in the tree: a parser may take a column's name for a word of its own."""
    from sqlglot import TokenType

    kept = {
        word
        for node in statement.walk()
        for value in node.args.values()
        if isinstance(value, str)
        for word in (value.lower(), *value.lower().split())
    }
    following = [*(token.token_type for token in tokens[1:]), None]
    return {
        token.text.lower()
        for token, after in zip(tokens, following, strict=False)
        if token.token_type in (TokenType.VAR, TokenType.IDENTIFIER) and after is not TokenType.L_PAREN
    } - kept


@lru_cache(maxsize=1)
def _structure() -> frozenset[type]:
    from sqlglot import exp

    return frozenset(getattr(exp, name) for name in _KNOWN.split())


def _function(node: exp.Expr) -> str:
    from sqlglot import exp

    return str(node.name if isinstance(node, exp.Anonymous) else node.key).lower()


class _Reader:
    """Collects the names of one statement."""

    def __init__(self, statement: exp.Expr, inputs: Mapping[int, str]) -> None:
        from sqlglot import exp

        self._statement = statement
        self._inputs = inputs
        self._everything = set(inputs.values())
        self._names: dict[str, set[str]] = {key: set() for key in self._everything}
        self._all: set[str] = set()
        self._called: dict[str, set[str]] = {}
        """A name by which rows may be addressed anywhere in the statement → the inputs it may mean."""
        self._direct: dict[int, set[str]] = {}
        self._derived = {
            each.alias.lower()
            for each in statement.find_all(exp.CTE, exp.Subquery, exp.Table, exp.Unnest, exp.Lateral)
        }
        placed: set[int] = set()
        for table in statement.find_all(exp.Table):
            self._name(table)
        for select in statement.find_all(exp.Select):
            direct = list(_direct(select))
            placed |= {id(table) for table in direct}
            self._direct[id(select)] = {inputs[id(table)] for table in direct if id(table) in inputs}
        # A table that no SELECT lists stands for all that it holds.
        self._all |= {key for table, key in inputs.items() if table not in placed}

    def _name(self, table: exp.Table) -> None:
        """Learns what a table reference is called; one in a form that is not plain is read whole."""
        from sqlglot import exp

        key = self._inputs.get(id(table))
        names = {table.name.lower(), table.alias.lower()}
        parent = table.parent
        while parent is not None and not isinstance(parent, exp.Select):  # ``from (orders) as o``
            names.add(str(parent.alias).lower() if isinstance(parent, exp.Subquery) else "")
            if key is not None and isinstance(parent, exp.Subquery) and _renames(parent):
                self._all.add(key)
            parent = parent.parent
        for name in names - {""} if key is not None else ():
            self._called.setdefault(name, set()).add(str(key))
        plain = all(part in _TABLE_PARTS for part, value in table.args.items() if value)
        if key is not None and (not plain or _renames(table)):
            self._all.add(key)

    def reads(self, keys: Iterable[str], lost: Iterable[str]) -> Reads:
        from sqlglot import exp

        for name in lost:
            self._add(name, self._everything)
            self._all |= self._called.get(name, set())
        for node in self._statement.walk():
            if isinstance(node, exp.Column):
                self._column(node)
            elif isinstance(node, exp.Star):
                self._star(node)
            elif isinstance(node, exp.Var):  # ``date_trunc(month, at)``: month may be a column
                self._add(node.name, self._everything)
            elif isinstance(node, exp.Identifier) and type(node.parent).__name__ not in _NAMING:
                # Of a struct's field, a lambda, ``using``: sought in every input; before a dot it may be a row.
                self._add(node.name, self._everything)
                if isinstance(node.parent, exp.Dot):
                    self._all |= self._called.get(node.name.lower(), set())
            elif isinstance(node, exp.Join) and str(node.args.get("method") or "").upper() == "NATURAL":
                self._whole(node)
        return {key: None if key in self._all else tuple(sorted(self._names[key])) for key in keys}

    def _column(self, column: exp.Column) -> None:
        from sqlglot import exp

        if isinstance(column.this, exp.Star):
            owner = column.args.get("table")
            if owner is None:
                self._whole(column)
                return
            # ``o.*`` is all of o, or of a struct o; of a query in FROM it is what that query names.
            self._all |= self._called.get(owner.name.lower(), set())
            self._add(owner.name, self._everything)
            return
        parts = [part.name for part in column.parts]
        name = parts[-1]
        self._all |= self._called.get(name.lower(), set())  # a table's name alone is its whole row
        if len(parts) == 1:
            self._add(name, self._visible(column))
            return
        owners: set[str] = set()
        known = False
        for part in parts[:-1]:
            self._add(part, self._everything)  # a column that is a struct
            called = self._called.get(part.lower())
            known = known or called is not None
            owners |= called or set()
        if len(parts) > 2 or not (known or parts[0].lower() in self._derived):
            owners = self._everything
        self._add(name, owners)

    def _star(self, star: exp.Star) -> None:
        from sqlglot import exp

        if isinstance(star.parent, exp.Column):
            return
        plain = not any(star.args.values())
        if plain and isinstance(star.parent, exp.Count) and star.parent.this is star:
            return
        select = star.find_ancestor(exp.Select)
        if plain and select is star.parent and select is not None and _is_tested(select):
            return
        self._whole(star)

    def _whole(self, node: exp.Expr) -> None:
        """All columns of what the SELECT around a node lists."""
        from sqlglot import exp

        select = node.find_ancestor(exp.Select)
        self._all |= self._everything if select is None else self._direct[id(select)]

    def _visible(self, node: exp.Expr) -> set[str]:
        """The inputs whose columns a name at a node may mean: those of the SELECTs around it, a lateral one's too."""
        from sqlglot import exp

        found: set[str] = set()
        inside = False
        child, parent = node, node.parent
        while parent is not None:
            if isinstance(parent, exp.Select):
                inside = True
                found |= self._direct[id(parent)]
            elif isinstance(parent, exp.SetOperation) and child.arg_key not in (
                "this",
                "expression",
                "with_",
            ):
                return self._everything  # ORDER BY of a union
            child, parent = parent, parent.parent
        return found if inside else self._everything

    def _add(self, name: str, keys: Iterable[str]) -> None:
        for key in keys:
            self._names[key].add(name.lower())


def _renames(node: exp.Expr) -> bool:
    """Whether an alias renames columns by their place: ``orders as o(a, b)``."""
    alias = node.args.get("alias")
    return bool(alias is not None and alias.args.get("columns"))


def _is_tested(select: exp.Select) -> bool:
    """Whether only the number of its rows counts: ``exists (select * from …)``."""
    from sqlglot import exp

    parent = select.parent
    return isinstance(parent, exp.Exists) or (
        isinstance(parent, exp.Subquery) and isinstance(parent.parent, exp.Exists)
    )


def _direct(select: exp.Select) -> Iterator[exp.Table]:
    """The tables that a SELECT lists in FROM and its joins; not those of queries inside."""
    from sqlglot import exp

    waiting: list[exp.Expr] = [
        node for part in ("from_", "joins", "laterals") for node in _listed(select.args.get(part))
    ]
    while waiting:
        node = waiting.pop()
        if isinstance(node, exp.Table):
            yield node
        if not isinstance(node, exp.Select | exp.SetOperation):
            waiting.extend(node.iter_expressions())


def _listed(value: object) -> list[exp.Expr]:
    from sqlglot import exp

    each = value if isinstance(value, list) else [value]
    return [node for node in each if isinstance(node, exp.Expression)]
