"""One project file as names: the hash of what makes each name, what that uses, and what the file imports.

Reads text, never runs it. Knows nothing of other files: an import is only written down here. All definitions are read
at once and the syntax tree is let go, because trees of many files are slow company for the garbage collector; the tree
is made again for the few objects that can't be found by name.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from anabranch.pipeline.canonical import (
    Reference,
    Scanned,
    chain,
    is_type_checking,
    scan,
    scan_decorator,
)
from anabranch.pipeline.kept import Kept

FRAMEWORKS = frozenset({"anabranch", "dagster"})
"""Whose decorators wrap functions without deciding what they compute, and whose releases rebuild nobody's tables."""
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
LOOPS = (ast.For, ast.AsyncFor, ast.While)
_TRIES = (ast.Try, ast.TryStar)
_WITHS = (ast.With, ast.AsyncWith)
_SILENT = frozenset({"print", "log", "logger", "logging", "warnings"})
_FORMAT = f"1 {sys.version_info.major}.{sys.version_info.minor}"


class Decorator(NamedTuple):
    """A decorator of a definition at the top level: the dotted name it starts with, and what `scan` says of it."""

    name: str
    attributes: tuple[str, ...]
    scanned: Scanned


class Unit(NamedTuple):
    """What makes one name of a module.

    Attributes:
        kind: ``function``, ``class`` or ``constant``.
        line: Where it begins, from 1.
        scanned: The text of all statements that make or change it, without the decorators below.
        decorators: Those of a definition that stands alone; whether they are anabranch's another file may tell.
        spans: First and last line of each statement.
        binds: Whether a statement binds the name itself, rather than change what it holds.
        alone: The first line (a decorator's, if there is one) of the only function or class of that name at the top
            level; 0 if there is another.
    """

    kind: str
    line: int
    scanned: Scanned
    decorators: tuple[Decorator, ...]
    spans: tuple[tuple[int, int], ...]
    binds: bool
    alone: int


class Place:
    """Where a function, class or lambda stands in its file.

    Attributes:
        node: The definition.
        within: The definitions around it, outermost first.
        top: The statement of the top level that holds it.
        repeated: Whether a loop or a function around it can make it several times.
    """

    __slots__ = ("node", "repeated", "top", "within")

    def __init__(
        self,
        node: Definition | ast.Lambda,
        within: tuple[Definition | ast.Lambda, ...],
        top: ast.stmt,
        repeated: bool,
    ) -> None:
        self.node = node
        self.within = within
        self.top = top
        self.repeated = repeated

    @property
    def qualname(self) -> str:
        """The dotted path of names, without ``<locals>`` and comprehensions, so that every Python agrees on it."""
        return ".".join(getattr(node, "name", "<lambda>") for node in (*self.within, self.node))


@contextmanager
def uncollected() -> Iterator[None]:
    """Holds the garbage collector back while many objects are made that all stay or all go."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Source:
    """One file of the project, read.

    Args:
        name: The module's dotted name.
        path: The file; None for a namespace package, which has none.
        relative: Its path from the project's root, with ``/``.
        is_package: Whether relative imports start in it rather than beside it.
        folders: Where its submodules are.
        kept: Where results are kept from process to process, by the file's content; None to keep nothing.

    Attributes:
        sha256: Of the file's bytes.
        error: What the parser said, if it is no Python.
        units: Name → what makes it, for all names that statements of the top level make.
        imports: Name → what its imports stand for.
        stars: The modules of ``from … import *``.
        exported: The names in a literal ``__all__``, or None.
    """

    def __init__(
        self,
        name: str,
        path: Path | None,
        relative: str,
        *,
        is_package: bool,
        folders: tuple[Path, ...],
        kept: Kept | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.relative = relative
        self.is_package = is_package
        self.folders = folders
        self.error: str | None = None
        self.units: dict[str, Unit] = {}
        self.imports: dict[str, list[Reference]] = {}
        self.stars: list[Reference] = []
        self.exported: frozenset[str] | None = None
        self._data = path.read_bytes() if path is not None else b""
        self.sha256 = hashlib.sha256(self._data).hexdigest()
        key = f"{_FORMAT} {self.sha256}"
        if self._data and (kept is None or not self._restore(kept.get(key))):
            with uncollected():
                self._read()
            if kept is not None:
                kept.put(key, self._plain())

    @property
    def package(self) -> str:
        """The package that relative imports count from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]

    def absolute(self, target: Reference) -> str:
        """The absolute name of the module that a reference's import names; empty if it leads out of the package."""
        if target.level == 0:
            return target.module
        parts = self.package.split(".") if self.package else []
        if target.level - 1 > len(parts):
            return ""
        base = parts[: len(parts) - (target.level - 1)]
        return ".".join((*base, target.module) if target.module else base)

    def exports(self, name: str) -> bool:
        """Whether ``from this import *`` brings the name."""
        return name in self.exported if self.exported is not None else not name.startswith("_")

    def is_framework(self, name: str) -> bool:
        """Whether this file imports the name from a framework."""
        return any(
            t.level == 0 and t.module.partition(".")[0] in FRAMEWORKS for t in self.imports.get(name, ())
        )

    # Reading ---------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            tree = _parse(self._data)
        except (SyntaxError, ValueError) as error:
            self.error = str(error)
            return
        statements: dict[str, list[ast.stmt]] = {}
        handed: dict[str, list[ast.stmt]] = {}
        for statement in tree.body:
            self._index(statement, statement, statements, handed)
        self.exported = _exported(statements.get("__all__", ()))
        for name, made in statements.items():
            self.units[name] = self._unit(name, made, handed.get(name, ()))

    def _index(
        self,
        statement: ast.stmt,
        top: ast.stmt,
        statements: dict[str, list[ast.stmt]],
        handed: dict[str, list[ast.stmt]],
    ) -> None:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                module = alias.name if alias.asname else alias.name.partition(".")[0]
                self.imports.setdefault(alias.asname or module, []).append(Reference("", (), module, 0))
            return
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                target = Reference("", (), statement.module or "", statement.level)
                if alias.name == "*":
                    self.stars.append(target)
                else:
                    self.imports.setdefault(alias.asname or alias.name, []).append(
                        target._replace(attributes=(alias.name,))
                    )
            return
        for name in _made(statement):
            stored = statements.setdefault(name, [])
            if not stored or stored[-1] is not top:
                stored.append(top)
        for name in _handed(statement):
            handed.setdefault(name, []).append(top)
        for block in blocks(statement):
            for inner in block:
                self._index(inner, top, statements, handed)

    def _unit(self, name: str, made: list[ast.stmt], handed: Iterable[ast.stmt]) -> Unit:
        kind = _kind(made, name)
        statements = made
        if kind != "function":
            more = [s for s in handed if s not in made and not self._describes(s)]
            statements = sorted((*made, *more), key=lambda s: s.lineno)
        cuts = [cut(s, name) or s for s in statements]
        only = made[0] if len(made) == 1 and isinstance(made[0], DEFINITIONS) else None
        definitions = [s for s in made if isinstance(s, DEFINITIONS)]
        first = definitions[0] if definitions else statements[0]
        return Unit(
            kind,
            first.lineno,
            scan(cuts, is_framework=self.is_framework, bare=only is not None),
            tuple(self._decorator(d) for d in only.decorator_list) if only is not None else (),
            tuple(
                (first_line(s) if isinstance(s, DEFINITIONS) else s.lineno, s.end_lineno or s.lineno)
                for s in statements
            ),
            _binds(made, name),
            first_line(definitions[0]) if len(definitions) == 1 else 0,
        )

    def _decorator(self, node: ast.expr) -> Decorator:
        found = chain(node.func if isinstance(node, ast.Call) else node) or ("", ())
        return Decorator(*found, scan_decorator(node, is_framework=self.is_framework))

    def _describes(self, statement: ast.stmt) -> bool:
        call = statement.value if isinstance(statement, ast.Expr) else None
        found = chain(call.func) if isinstance(call, ast.Call) else None
        return found is not None and self.is_framework(found[0])

    # Keeping ---------------------------------------------------------------------------------------------------------

    def _plain(self) -> Any:
        exported = None if self.exported is None else sorted(self.exported)
        return [self.error, self.units, self.imports, self.stars, exported]

    def _restore(self, plain: Any) -> bool:
        if plain is None:
            return False
        try:
            self.error, units, imports, stars, exported = plain
            self.units = {name: _unit_of(fields) for name, fields in units.items()}
            self.imports = {name: [_reference(t) for t in targets] for name, targets in imports.items()}
            self.stars = [_reference(t) for t in stars]
            self.exported = None if exported is None else frozenset(exported)
        except (TypeError, ValueError, AttributeError):
            self.error, self.units, self.imports, self.stars, self.exported = None, {}, {}, [], None
            return False
        return True

    # Looking up what the interpreter holds -----------------------------------------------------------------------------

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        try:
            return _parse(self._data)
        except (SyntaxError, ValueError):
            return ast.Module([], [])

    @cached_property
    def alone(self) -> dict[int, str]:
        """First line → the name of the function or class that begins there, is at the top level, and alone so named."""
        return {unit.alone: name for name, unit in self.units.items() if unit.alone}

    @cached_property
    def places(self) -> dict[int, list[Place]]:
        """First line (a decorator's, if there is one) → the functions and classes that begin there."""
        found: dict[int, list[Place]] = {}
        for place in _definitions(self.tree.body, (), None, False):
            found.setdefault(first_line(place.node), []).append(place)
        return found

    @cached_property
    def classes(self) -> dict[str, list[Place]]:
        """Dotted path of names → the classes defined there."""
        found: dict[str, list[Place]] = {}
        for places in self.places.values():
            for place in places:
                if isinstance(place.node, ast.ClassDef):
                    found.setdefault(place.qualname, []).append(place)
        return found

    @cached_property
    def lambdas(self) -> dict[int, list[Place]]:
        """Line → the lambdas that begin there."""
        found: dict[int, list[Place]] = {}
        for top in self.tree.body:
            for place in _lambdas(top, (), top, False):
                found.setdefault(place.node.lineno, []).append(place)
        return found


def _parse(data: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the interpreter has said what it has to say when it imported the file
        return ast.parse(data)


def first_line(node: Definition | ast.Lambda) -> int:
    """The line that code objects call their first: the first decorator's."""
    decorators = getattr(node, "decorator_list", None)
    return min(node.lineno, decorators[0].lineno) if decorators else node.lineno


def blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The blocks of a compound statement that run in the same scope; not those for type checkers."""
    if isinstance(statement, ast.If):
        if not is_type_checking(statement.test):
            yield statement.body
        yield statement.orelse
    elif isinstance(statement, LOOPS):
        yield statement.body
        yield statement.orelse
    elif isinstance(statement, _TRIES):
        yield statement.body
        for handler in statement.handlers:
            yield handler.body
        yield statement.orelse
        yield statement.finalbody
    elif isinstance(statement, _WITHS):
        yield statement.body
    elif isinstance(statement, ast.Match):
        for case in statement.cases:
            yield case.body


def cut(statement: ast.stmt, name: str) -> ast.stmt | None:
    """The statement with only those parts of its blocks that make or change the name.

    A loop stays whole, for each round may depend on the one before.
    """
    if not isinstance(statement, (ast.If, *_TRIES, *_WITHS, ast.Match)):
        return statement if isinstance(statement, LOOPS) or name in _made(statement) else None
    if name in _made(statement):  # its own header makes the name, such as ``with … as name``
        return statement
    if isinstance(statement, ast.If):
        body = [] if is_type_checking(statement.test) else _cut_block(statement.body, name)
        orelse = _cut_block(statement.orelse, name)
        return ast.If(statement.test, body, orelse) if body or orelse else None
    if isinstance(statement, ast.Match):
        cases = [ast.match_case(c.pattern, c.guard, _cut_block(c.body, name)) for c in statement.cases]
        return ast.Match(statement.subject, cases)
    if isinstance(statement, ast.With):
        return ast.With(statement.items, _cut_block(statement.body, name))
    if isinstance(statement, ast.AsyncWith):
        return ast.AsyncWith(statement.items, _cut_block(statement.body, name))
    assert isinstance(statement, ast.Try | ast.TryStar)
    handlers: list[ast.ExceptHandler] = [
        ast.ExceptHandler(h.type, h.name, _cut_block(h.body, name)) for h in statement.handlers
    ]
    return type(statement)(
        _cut_block(statement.body, name, imports=True),
        handlers,
        _cut_block(statement.orelse, name),
        _cut_block(statement.finalbody, name),
    )


def _cut_block(block: list[ast.stmt], name: str, *, imports: bool = False) -> list[ast.stmt]:
    """What of a block is about the name; in a ``try`` an import stays, for it may raise the error that decides."""
    kept: list[ast.stmt] = []
    for statement in block:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            if imports or any((a.asname or a.name).partition(".")[0] == name for a in statement.names):
                kept.append(statement)
        elif isinstance(statement, LOOPS):
            if name in _deep(statement):
                kept.append(statement)
        elif any(True for _ in blocks(statement)):
            if name in _deep(statement):
                part = cut(statement, name)
                if part is not None:
                    kept.append(part)
        elif name in _made(statement) or isinstance(statement, ast.Raise):
            kept.append(statement)
    return kept


def _deep(statement: ast.stmt) -> set[str]:
    names = set(_made(statement))
    for block in blocks(statement):
        for inner in block:
            names |= _deep(inner)
            if isinstance(inner, ast.Import | ast.ImportFrom):
                names.update((a.asname or a.name).partition(".")[0] for a in inner.names)
    return names


def _exported(statements: Iterable[ast.stmt]) -> frozenset[str] | None:
    names: set[str] = set()
    for statement in statements:
        value = getattr(statement, "value", None)
        if not isinstance(value, ast.List | ast.Tuple):
            return None
        names.update(e.value for e in value.elts if isinstance(e, ast.Constant) and isinstance(e.value, str))
    return frozenset(names) if names else None


def _kind(statements: Iterable[ast.stmt], name: str) -> str:
    found = "constant"
    for statement in statements:
        for node in (statement, *(inner for block in blocks(statement) for inner in block)):
            if isinstance(node, DEFINITIONS) and node.name == name:
                found = "class" if isinstance(node, ast.ClassDef) else "function"
    return found


def _binds(statements: Iterable[ast.stmt], name: str) -> bool:
    for statement in statements:
        if isinstance(statement, DEFINITIONS):
            return True
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load):
                return True
            if isinstance(node, DEFINITIONS) and node.name == name:
                return True
    return False


def _reference(fields: Any) -> Reference:
    name, attributes, module, level, use = fields
    return Reference(name, tuple(attributes), module, level, use)


def _scanned(fields: Any) -> Scanned:
    text, references, remarks = fields
    return Scanned(text, tuple(map(_reference, references)), tuple((line, said) for line, said in remarks))


def _unit_of(fields: Any) -> Unit:
    kind, line, scanned, decorators, spans, binds, alone = fields
    return Unit(
        kind,
        line,
        _scanned(scanned),
        tuple(Decorator(name, tuple(attributes), _scanned(s)) for name, attributes, s in decorators),
        tuple((first, last) for first, last in spans),
        binds,
        alone,
    )


def root_name(node: ast.expr) -> str | None:
    """``a`` of ``a.b[0].c(…)``: the name that an expression starts at."""
    while True:
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute | ast.Subscript | ast.Starred | ast.Await):
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            return None


def _targets(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Tuple | ast.List):
        for element in node.elts:
            yield from _targets(element)
    else:
        name = root_name(node)
        if name is not None:
            yield name


def _made(statement: ast.stmt) -> list[str]:
    """The names that a statement, without its blocks, binds, changes or calls a method of."""
    names: list[str] = []
    if isinstance(statement, DEFINITIONS):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        names = [name for target in statement.targets for name in _targets(target)]
        names += _walruses(statement.value)
    elif isinstance(statement, ast.AnnAssign):
        names = list(_targets(statement.target)) if statement.value is not None else []
    elif isinstance(statement, ast.AugAssign):
        names = list(_targets(statement.target))
    elif isinstance(statement, ast.Delete):
        names = [name for target in statement.targets for name in _targets(target)]
    elif isinstance(statement, ast.For | ast.AsyncFor):
        names = list(_targets(statement.target))
    elif isinstance(statement, ast.With | ast.AsyncWith):
        names = [n for item in statement.items if item.optional_vars for n in _targets(item.optional_vars)]
    elif isinstance(statement, ast.If | ast.While):
        names = _walruses(statement.test)
    elif isinstance(statement, ast.Expr):
        names = _walruses(statement.value)
        if isinstance(statement.value, ast.Call) and isinstance(statement.value.func, ast.Attribute):
            name = root_name(statement.value.func)
            names += [name] if name else []
    elif isinstance(statement, ast.Match):
        for node in ast.walk(statement):
            name = getattr(node, "name", None) if isinstance(node, ast.MatchAs | ast.MatchStar) else None
            names += [name] if name else []
    elif type(statement).__name__ == "TypeAlias":
        names = list(_targets(statement.name))  # type: ignore[attr-defined]
    return names


def _walruses(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Constant | ast.Name):
        return []
    return [inner.target.id for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr)]


def _handed(statement: ast.stmt) -> Iterator[str]:
    """The names that a call standing alone was handed: ``setattr(Table, "limit", 3)``."""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return
    call = statement.value
    callee = root_name(call.func)
    if callee is None or callee in _SILENT:
        return
    for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
        name = root_name(argument) if isinstance(argument, ast.Name | ast.Attribute) else None
        if name is not None:
            yield name


def _definitions(
    statements: Iterable[ast.stmt],
    within: tuple[Definition | ast.Lambda, ...],
    top: ast.stmt | None,
    repeated: bool,
) -> Iterator[Place]:
    for statement in statements:
        outer = top or statement
        if isinstance(statement, DEFINITIONS):
            yield Place(statement, within, outer, repeated)
            inner = repeated or isinstance(statement, FUNCTIONS)
            yield from _definitions(statement.body, (*within, statement), outer, inner)
        else:
            again = repeated or isinstance(statement, LOOPS)
            for block in _all_blocks(statement):
                yield from _definitions(block, within, outer, again)


def _all_blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    if isinstance(statement, ast.If):
        yield statement.body
        yield statement.orelse
    else:
        yield from blocks(statement)


def _lambdas(
    node: ast.AST, within: tuple[Definition | ast.Lambda, ...], top: ast.stmt, repeated: bool
) -> Iterator[Place]:
    if isinstance(node, ast.Lambda):
        yield Place(node, within, top, repeated)
    if isinstance(node, (*DEFINITIONS, ast.Lambda)):
        within = (*within, node)
    repeated = repeated or isinstance(
        node,
        (*FUNCTIONS, *LOOPS, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
    )
    for child in ast.iter_child_nodes(node):
        yield from _lambdas(child, within, top, repeated)
