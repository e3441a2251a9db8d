"""One project file as names: which statements of its top level make each name, and what it imports.

Reads text, never runs it. Knows nothing of other files: an import is only written down here.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from anabranch.pipeline.canonical import Reference, is_type_checking

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
LOOPS = (ast.For, ast.AsyncFor, ast.While)
_TRIES = (ast.Try, ast.TryStar)
_WITHS = (ast.With, ast.AsyncWith)
_SILENT = frozenset({"print", "log", "logger", "logging", "warnings"})


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


class Source:
    """One file of the project, parsed.

    Args:
        name: The module's dotted name.
        path: The file; None for a namespace package, which has none.
        relative: Its path from the project's root, with ``/``.
        is_package: Whether relative imports start in it rather than beside it.
        folders: Where its submodules are.

    Attributes:
        sha256: Of the file's bytes.
        error: What the parser said, if it is no Python.
        statements: Name → the top-level statements that make or change it, in the file's order.
        passed: Name → calls at the top level that were handed it, and may have changed it.
        imports: Name → what its imports stand for.
        stars: The modules of ``from … import *``.
    """

    def __init__(
        self, name: str, path: Path | None, relative: str, *, is_package: bool, folders: tuple[Path, ...]
    ) -> None:
        self.name = name
        self.path = path
        self.relative = relative
        self.is_package = is_package
        self.folders = folders
        self.error: str | None = None
        self.statements: dict[str, list[ast.stmt]] = {}
        self.passed: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, list[Reference]] = {}
        self.stars: list[Reference] = []
        data = path.read_bytes() if path is not None else b""
        self.sha256 = hashlib.sha256(data).hexdigest()
        try:
            self.tree = ast.parse(data)
        except (SyntaxError, ValueError) as error:
            self.tree = ast.Module([], [])
            self.error = str(error)
        for statement in self.tree.body:
            self._index(statement, statement)

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

    @cached_property
    def exported(self) -> frozenset[str] | None:
        """The names in a literal ``__all__``, or None."""
        names: set[str] = set()
        for statement in self.statements.get("__all__", ()):
            value = getattr(statement, "value", None)
            if not isinstance(value, ast.List | ast.Tuple):
                return None
            names.update(
                e.value for e in value.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)
            )
        return frozenset(names) if names else None

    def exports(self, name: str) -> bool:
        """Whether ``from this import *`` brings the name."""
        if self.exported is not None:
            return name in self.exported
        return not name.startswith("_")

    # The index -------------------------------------------------------------------------------------------------------

    def _index(self, statement: ast.stmt, top: ast.stmt) -> None:
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
            stored = self.statements.setdefault(name, [])
            if not stored or stored[-1] is not top:
                stored.append(top)
        for name in _handed(statement):
            self.passed.setdefault(name, []).append(top)
        for block in blocks(statement):
            for inner in block:
                self._index(inner, top)

    # Looking up what the interpreter holds -----------------------------------------------------------------------------

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
