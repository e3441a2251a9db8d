"""A SQL asset's query: what it reads, and the one text of it.

The text is made of the query's own words, in their order, not of the parser's idea of them: so no two queries that
differ in meaning share a text, and a new release of sqlglot does not make every SQL asset look changed. Parsing takes
1.2 ms a query and sqlglot's import 100 ms, so results are kept in a file; if it has all that is asked, sqlglot is not
imported. Knows SQL, and no assets: whether a table that is read exists is asked elsewhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabranch.dataclass import dataclass, field
from anabranch.errors import SignatureError
from anabranch.names import DEFAULT_NAMESPACE
from anabranch.pipeline.canonical import digest
from anabranch.pipeline.distributions import Distributions
from anabranch.pipeline.kept import kept_in
from anabranch.pipeline.sql_reads import aliases, column_reads

if TYPE_CHECKING:
    from sqlglot import exp

_FORMAT = 2
_FILE = "queries.jsonl"
_SAFE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SYSTEM = frozenset({"information_schema", "pg_catalog"})
_OUTSIDE_FUNCTIONS = frozenset(
    {"glob", "sniff_csv", "parquet_metadata", "parquet_schema", "iceberg_metadata", "query", "query_table"}
)
# duckdb_keywords(), category reserved
_RESERVED_WORDS = """
    all analyse analyze and any array as asc asymmetric both case cast check collate column constraint
    create default deferrable desc describe distinct do else end except false fetch for foreign from
    group having in initially intersect into lambda lateral leading limit not null offset on only or
    order pivot pivot_longer pivot_wider placing primary qualify references returning select show some
    summarize symmetric table then to trailing true union unique unpivot using variadic when where
    window with
"""
_RESERVED = frozenset(_RESERVED_WORDS.split())
_UNCLOSED = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$|[^'\"/$-]+|/(?!\*)|-|\$",
    re.DOTALL,
)

_TEXTS = re.compile(r"'(?:[^']|'')*'")
_PARAMETERS = re.compile(r"\$ ?(partition(?:_start|_end)?)\b")


@dataclass(frozen=True)
class Query:
    """A parsed query.

    Attributes:
        inputs: The tables that it reads, sorted: not its own CTEs, not table functions. ``marts.orders`` keeps its
            namespace; ``main.orders`` is ``orders``.
        outside: What it reads that is no table of the catalog: files, ``read_csv('…')``, attached databases.
        normalised: Its words with one space between them, without comments; keywords and functions in upper case,
            names as they are written.
        hash: 32 hexadecimal digits of that text.
        columns: The names of the result's columns, or nothing if they can't be told from the text alone.
        reads: Input → the columns of it that the result depends on, in lower case and sorted; None: all. See
            `anabranch.pipeline.sql_reads`.
        aliases: What it calls tables, in lower case and sorted.
    """

    inputs: tuple[str, ...]
    outside: tuple[str, ...]
    normalised: str
    hash: str
    columns: tuple[str, ...] = ()
    reads: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """What it is told of the partition that it makes: of ``partition``, ``partition_start``, ``partition_end``."""
        bare = _TEXTS.sub("''", self.normalised)
        return tuple(sorted(set(_PARAMETERS.findall(bare))))


def parse_query(query: str, *, name: str, dialect: str = "duckdb", cache_dir: Path | None = None) -> Query:
    """Reads one query.

    Args:
        query: One statement that gives rows: SELECT, WITH, VALUES, FROM first, a union, PIVOT.
        name: The asset's name, for messages.
        dialect: One of sqlglot's.
        cache_dir: Folder where results are kept; made if missing. A result that can't be kept is no error.

    Raises:
        SignatureError: it has a syntax error (``facts`` hold line and column), is no such statement, or is several.
    """
    if cache_dir is None:
        return _parse(query, name, dialect)
    kept = kept_in(cache_dir / _FILE)
    key = _key(query, dialect)
    found = _restored(kept.get(key))
    if found is None:
        found = _parse(query, name, dialect)
        text = [found.inputs, found.outside, found.normalised, found.hash, found.columns]
        kept.put(key, [*text, dict(found.reads), found.aliases])
    return found


def _restored(plain: Any) -> Query | None:
    try:
        inputs, outside, normalised, text, columns, reads, aliases = plain
        read = {key: None if names is None else tuple(names) for key, names in reads.items()}
        return Query(tuple(inputs), tuple(outside), normalised, text, tuple(columns), read, tuple(aliases))
    except (AttributeError, TypeError, ValueError):
        return None


@lru_cache(maxsize=1)
def _version() -> str:
    return " ".join(d.version for d in Distributions().of("sqlglot"))


def _key(query: str, dialect: str) -> str:
    text = "\0".join((str(_FORMAT), _version(), dialect, query))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# Parsing --------------------------------------------------------------------------------------------------------------


def _parse(query: str, name: str, dialect: str) -> Query:
    import sqlglot
    from sqlglot import errors, exp
    from sqlglot.dialects.dialect import Dialect

    try:
        tokens = Dialect.get_or_raise(dialect).tokenize(query)
        statements = [
            s
            for s in sqlglot.parse(_from_for_table(query, tokens), dialect=dialect)
            if s is not None and not isinstance(s, exp.Semicolon)
        ]
    except errors.TokenError:
        raise _syntax_error(name, query, _unclosed(query), "a text, name or comment is not closed") from None
    except errors.ParseError as error:
        first: dict[str, Any] = error.errors[0] if error.errors else {}
        word = first.get("highlight") or ""
        line, column = first.get("line"), first.get("col")
        place = (line, max(1, column - len(word) + 1), word) if line and column else None
        raise _syntax_error(name, query, place, _sentence(str(first.get("description") or error))) from None
    except ValueError as error:
        raise SignatureError(f"the query {name}: {error}") from None
    if not statements:
        raise SignatureError(f"the query {name} is empty", hint="write one SELECT")
    if len(statements) > 1:
        raise SignatureError(
            f"the query {name} holds {len(statements)} statements, and an asset is made by one",
            hint="keep the SELECT; make one asset of each table that it needs",
        )
    statement = statements[0]
    _refuse_others(statement, name)
    reads: dict[str, str] = {}
    outside: set[str] = set()
    named: dict[int, str] = {}
    for table, visible in _tables(statement, frozenset()):
        name_read = _sort_out(table, visible, reads, outside, dialect)
        if name_read is not None:
            named[id(table)] = name_read
    normalised = _normalise(query, tokens, statement, dialect)
    return Query(
        inputs=tuple(sorted(reads.values())),
        outside=tuple(sorted(outside)),
        normalised=normalised,
        hash=digest("sql 1", dialect, normalised),
        columns=_columns(statement),
        reads=column_reads(statement, tokens, named),
        aliases=tuple(sorted(aliases(statement))),
    )


def _from_for_table(query: str, tokens: list[Any]) -> str:
    """The query with ``FROM  orders`` in place of ``TABLE orders``, which means the same; all else stays in its column.

    Some versions of sqlglot take the statement for a column called ``table``, and then an input would be missed.
    """
    from sqlglot import TokenType as T

    opens = {T.L_PAREN, T.R_PAREN, T.SEMICOLON, T.UNION, T.EXCEPT, T.INTERSECT, T.ALL, T.DISTINCT}
    for i, token in enumerate(tokens[:-1]):
        starts = i == 0 or tokens[i - 1].token_type in opens
        if token.token_type is T.TABLE and starts and tokens[i + 1].token_type in (T.VAR, T.IDENTIFIER):
            query = f"{query[: token.start]}FROM {query[token.end + 1 :]}"
    return query


def _refuse_others(statement: exp.Expr, name: str) -> None:
    from sqlglot import exp

    hint = (
        "an asset's query is one SELECT, WITH, VALUES, FROM, UNION or PIVOT; the table is made from its rows"
    )
    if not isinstance(statement, exp.Query | exp.Values | exp.Pivot):
        kind = statement.name if isinstance(statement, exp.Command) else type(statement).__name__
        raise SignatureError(f"the query {name} is a statement of the kind {kind.upper()}", hint=hint)
    for inner in statement.walk():
        if isinstance(inner, exp.DML | exp.DDL | exp.Into | exp.Command | exp.Drop) and not isinstance(
            inner, exp.Query | exp.Values
        ):
            raise SignatureError(
                f"the query {name} holds a statement of the kind {type(inner).__name__.upper()}", hint=hint
            )


def _tables(node: exp.Expr, visible: frozenset[str]) -> Iterator[tuple[exp.Table, frozenset[str]]]:
    """Every table reference with the names of the CTEs that it can see.

    A CTE sees those before it, and itself if the WITH is recursive; so ``with orders as (select * from orders)`` reads
    the table. What a query defines is seen in all of it, and hides what a query around it defines.
    """
    from sqlglot import exp

    clause = node.args.get("with_") or node.args.get("with")
    if isinstance(clause, exp.With):
        for cte in clause.expressions:
            own = cte.alias.lower()
            yield from _tables(cte, visible | {own} if clause.args.get("recursive") else visible)
            visible |= {own}
    if isinstance(node, exp.Table):
        yield node, visible
    for child in node.iter_expressions():
        if child is not clause:
            yield from _tables(child, visible)


def _sort_out(
    table: exp.Table, visible: frozenset[str], reads: dict[str, str], outside: set[str], dialect: str
) -> str | None:
    """Notes what a table reference reads; returns the input that it names, if it names one."""
    from sqlglot import exp

    target = table.this
    if isinstance(target, exp.Func):
        function = (target.name if isinstance(target, exp.Anonymous) else target.sql_name()).lower()
        if (
            function.startswith("read_")
            or function.endswith(("_scan", "_query"))
            or function in _OUTSIDE_FUNCTIONS
        ):
            first = next((a for a in target.iter_expressions()), None)
            outside.add(f"{function}({first.sql(dialect) if first is not None else ''})")
        return None
    parts = [part.name for part in table.parts]
    if not all(parts):
        return None
    if len(parts) == 1:
        (only,) = parts
        if only.lower() in visible:
            return None
        if re.search(r"[./*:]", only):  # DuckDB takes such a name for a file
            outside.add(f"'{only}'")
            return None
        full = only
    elif len(parts) == 2 and parts[0].lower() not in _SYSTEM:
        full = parts[1] if parts[0] == DEFAULT_NAMESPACE else ".".join(parts)
    else:
        outside.add(".".join(parts))
        return None
    return reads.setdefault(full.lower(), full)


def _columns(statement: exp.Expr) -> tuple[str, ...]:
    from sqlglot import exp

    if not isinstance(statement, exp.Select | exp.SetOperation | exp.Subquery):
        return ()
    leftmost: Any = statement
    while isinstance(leftmost, exp.SetOperation | exp.Subquery):
        leftmost = leftmost.this
    if not isinstance(leftmost, exp.Select) or (
        isinstance(statement, exp.SetOperation) and statement.args.get("by_name")
    ):
        return ()
    names = tuple(e.output_name if _is_named(e) else "" for e in leftmost.expressions)
    return names if all(n and n != "*" for n in names) else ()


def _is_named(column: exp.Expr) -> bool:
    """Whether a column has a name of its own, rather than one that DuckDB makes of its text."""
    from sqlglot import exp

    return isinstance(column, exp.Alias | exp.Column)


# The text -------------------------------------------------------------------------------------------------------------


def _normalise(query: str, tokens: list[Any], statement: exp.Expr, dialect: str) -> str:
    from sqlglot import TokenType, exp
    from sqlglot.parser import Parser

    written: set[str] = set()  # names: their case may become a column's
    for node in statement.walk():
        if not isinstance(node, exp.Anonymous):
            written.update(value for value in node.args.values() if isinstance(value, str))
    # DuckDB calls an unnamed column ``CAST(a AS double)``, with the type as it is written.
    types: frozenset[Any] = frozenset()
    if any(
        e.find(exp.DataType)
        for s in statement.find_all(exp.Select)
        for e in s.expressions
        if not _is_named(e)
    ):
        types = frozenset(Parser.TYPE_TOKENS)
    pieces: list[str] = []
    before: Any = None
    for token in tokens:
        if token.token_type is TokenType.SEMICOLON:
            continue
        raw = query[token.start : token.end + 1]
        text = raw
        if token.token_type is TokenType.IDENTIFIER:
            text = _unquoted(token.text, raw) if dialect == "duckdb" else raw
        elif _SAFE.match(raw):
            words = " ".join(raw.split())
            prefixed = raw[-1] in "'\"$"  # e'…', x'…': a literal
            kept = words in written or token.token_type in types
            text = raw if prefixed else words if kept else words.upper()
        if pieces and not _tight(before, token, TokenType):
            pieces.append(" ")
        pieces.append(text)
        before = token
    return "".join(pieces)


def _tight(before: Any, after: Any, kinds: Any) -> bool:
    """Whether two tokens stand side by side, decided by what they are; by how they stood only after a number."""
    if before.token_type in (kinds.L_PAREN, kinds.L_BRACKET, kinds.DOT, kinds.DCOLON):
        return True
    if after.token_type in (kinds.R_PAREN, kinds.R_BRACKET, kinds.DOT, kinds.DCOLON, kinds.COMMA):
        return True
    if after.token_type is kinds.L_PAREN:
        return before.token_type is kinds.VAR
    return (
        before.token_type is kinds.NUMBER and after.token_type is kinds.VAR and after.start == before.end + 1
    )


@lru_cache(maxsize=4096)
def _unquoted(name: str, raw: str) -> str:
    """A quoted name without its quotes where they change nothing: DuckDB's names have no case, quoted or not."""
    from sqlglot.dialects.duckdb import DuckDB

    if not _SAFE.fullmatch(name) or name.lower() in _RESERVED or name.upper() in DuckDB.Tokenizer.KEYWORDS:
        return raw
    return name


# Errors ---------------------------------------------------------------------------------------------------------------


def _syntax_error(name: str, query: str, place: tuple[int, int, str] | None, sentence: str) -> SignatureError:
    if place is None:
        return SignatureError(f"the query {name} has a syntax error: {sentence}", query=query)
    line, column, word = place
    near = f", at {word!r}" if word else ""
    text = query.splitlines()[line - 1].strip() if line <= len(query.splitlines()) else ""
    return SignatureError(
        f"the query {name} has a syntax error in line {line}, column {column}{near}: {sentence}",
        hint=f"look at: {text}" if text else None,
        line=line,
        column=column,
    )


def _sentence(text: str) -> str:
    """The parser's words without those about its own classes."""
    match = re.match(r"Required keyword: '\w+' missing for <class '[\w.]*\.(\w+)'>", text)
    return f"something is missing after {match[1].upper()}" if match else text[:1].lower() + text[1:]


def _unclosed(query: str) -> tuple[int, int, str] | None:
    """Where the quote or comment begins that nothing closes."""
    position = 0
    while position < len(query):
        match = _UNCLOSED.match(query, position)
        if match is None:
            line = query.count("\n", 0, position) + 1
            return line, position - query.rfind("\n", 0, position), query[position]
        position = match.end()
    return None
