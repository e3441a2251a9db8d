"""The one text of a piece of Python, and the names that it uses.

Two pieces of code that differ only in comments, docstrings, layout, quoting or local annotations have one text here,
on every supported version of Python; ``ast.dump`` and bytecode promise neither. The text and the names come from the
same walk, because both need every node once. Knows one syntax tree at a time: which module a name leads to is not
known here.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable, Sequence
from json.encoder import encode_basestring_ascii as _quote
from typing import Any, Final, Literal, NamedTuple

DYNAMIC: Final = "*"
"""Stands in `Reference.attributes` for an attribute whose name is only known at run time."""

CHANGED: Final = "+"
"""Ends `Reference.attributes` where the code only puts something in: a decorator that fills a registry."""

_CHANGERS = frozenset({"append", "add", "update", "setdefault", "extend", "insert", "register"})
_FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
_SKIPPED = frozenset({"ctx", "type_comment", "type_ignores", "kind", "simple"})
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_FORMAT = "ab1"


def digest(*pieces: str) -> str:
    """32 hexadecimal digits (BLAKE2b) of strings, each with its length, so that no two lists of strings are alike."""
    text = "".join([f"{len(piece)}:{piece}" for piece in pieces])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Reference(NamedTuple):
    """A name that code uses from outside itself.

    Attributes:
        name: The name in the module's own namespace; empty for an import that stands inside the code.
        attributes: What is asked of it in turn: ``helpers.table.clean`` gives ``("table", "clean")``.
        module: For an import, the dotted name behind ``import`` or ``from``.
        level: For an import, its leading dots.
        use: ``import`` if the code only imports it here, ``value`` if it uses it.
    """

    name: str
    attributes: tuple[str, ...] = ()
    module: str = ""
    level: int = 0
    use: Literal["value", "import"] = "value"

    @property
    def label(self) -> str:
        """The reference as text: equal in two pieces of code whose texts are equal."""
        start = self.name or f"import {'.' * self.level}{self.module}"
        return ".".join((start, *self.attributes)) + ("" if self.use == "value" else " (import)")


class Scanned(NamedTuple):
    """What `scan` finds: the hash of the text, the names used (sorted), and remarks as ``(line, sentence part)``."""

    hash: str
    references: tuple[Reference, ...]
    remarks: tuple[tuple[int, str], ...]


class _Scope:
    """One scope during the walk; ``loads`` wait until the scope is closed, for a binding may stand below its use."""

    __slots__ = ("binds", "globals", "imports", "kind", "loads", "nonlocals", "parent")

    def __init__(self, kind: str, parent: _Scope | None) -> None:
        self.kind = kind
        self.parent = parent
        self.binds: set[str] = set()
        self.globals: set[str] = set()
        self.nonlocals: set[str] = set()
        self.imports: dict[str, list[Reference]] = {}
        self.loads: list[tuple[str, tuple[str, ...]]] = []


def constant(value: Any) -> str:
    """The text of a literal: 1, 1.0, True and 1+0j are four texts."""
    kind = type(value)
    if kind is str:
        return "s" + _quote(value)
    if value is None or value is True or value is False:
        return str(value)
    if kind is int:
        return f"i{value:x}"
    if kind is float:
        return f"f{value!r}"
    if kind is bytes:
        return f"b{value.hex()}"
    if kind is complex:
        return f"c{value.real!r},{value.imag!r}"
    if value is Ellipsis:
        return "..."
    raise TypeError(f"{kind.__name__} is no literal")


def is_type_checking(test: ast.expr) -> bool:
    """Whether an ``if`` with this test is for type checkers only."""
    return (
        (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING")
        or (isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING")
        or (isinstance(test, ast.Constant) and test.value is False)
    )


def chain(node: ast.expr) -> tuple[str, tuple[str, ...]] | None:
    """``("a", ("b", "c"))`` of ``a.b.c``; None of anything that does not start at a name."""
    attributes: list[str] = []
    while type(node) is ast.Attribute:
        attributes.append(node.attr)
        node = node.value
    if type(node) is ast.Name:
        attributes.reverse()
        return node.id, tuple(attributes)
    return None


def scan(
    nodes: Sequence[ast.AST],
    *,
    is_framework: Callable[[str], bool] = lambda _name: False,
    bare: bool = False,
) -> Scanned:
    """Reads statements or expressions of a module's top level, or a definition nested in it.

    Args:
        nodes: What makes up one definition, in the order of the file.
        is_framework: Whether a name stands for something of anabranch: such decorators only describe, so they are left
            out, text and names.
        bare: Leaves out the decorators of the nodes themselves.
    """
    walk = _Walk(is_framework)
    walk.bare = frozenset(nodes) if bare else frozenset()
    walk.block(nodes)
    return walk.scanned()


def scan_decorator(node: ast.expr, *, is_framework: Callable[[str], bool] = lambda _name: False) -> Scanned:
    """Reads a decorator by itself; what its name leads to is only put into."""
    walk = _Walk(is_framework)
    walk.change(node.func if isinstance(node, ast.Call) else node)
    walk.node(node)
    return walk.scanned()


def bound_names(function: _FunctionNode | ast.Lambda) -> frozenset[str]:
    """The names that are local to a function."""
    walk = _Walk(lambda _name: True)
    walk.node(function)
    return frozenset(walk.locals_of.get(function, ()))


class _Walk:
    def __init__(self, is_framework: Callable[[str], bool]) -> None:
        self.out: list[str] = []
        self.references: set[Reference] = set()
        self.remarks: list[tuple[int, str]] = []
        self.scope = self.root = _Scope("module", None)
        self.is_framework = is_framework
        self.in_annotation = False
        self.locals_of: dict[ast.AST, set[str]] = {}
        self.changing: set[int] = set()
        self.bare: frozenset[ast.AST] = frozenset()

    # The walk itself -------------------------------------------------------------------------------------------------

    def node(self, node: ast.AST) -> None:
        kind = type(node)
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, node)
            return
        shape = _SHAPES.get(kind)
        if shape is None:
            shape = _SHAPES[kind] = (
                "(" + kind.__name__,
                tuple((f, f" {f}=") for f in kind._fields if f not in _SKIPPED),
            )
        out = self.out
        out.append(shape[0])
        for field, label in shape[1]:
            value = getattr(node, field, None)
            if value is None or value == []:
                continue
            out.append(label)
            self.field(value)
        out.append(")")

    def field(self, value: Any) -> None:
        if isinstance(value, ast.AST):
            self.node(value)
        elif isinstance(value, list):
            self.out.append("[")
            if value and isinstance(value[0], ast.stmt):
                self.block(value)
            else:
                for item in value:
                    if item is None:
                        self.out.append("~ ")
                    else:
                        self.field(item)
            self.out.append("]")
        elif isinstance(value, str):
            self.out.append(value + " ")
        else:
            self.out.append(constant(value) + " ")

    def block(self, statements: Iterable[ast.AST]) -> None:
        """Statements without those that do nothing: docstrings, ``pass``, annotations of locals."""
        for statement in statements:
            kind = type(statement)
            if kind is ast.Pass or (
                kind is ast.Expr and type(statement.value) is ast.Constant  # type: ignore[attr-defined]
            ):
                continue
            if kind is ast.If and is_type_checking(statement.test):  # type: ignore[attr-defined]
                self.block(statement.orelse)  # type: ignore[attr-defined]
                continue
            self.node(statement)

    def labelled(self, label: str, value: Any) -> None:
        if value is not None and value != []:
            self.out.append(f" {label}=")
            self.field(value)

    # Names and scopes ------------------------------------------------------------------------------------------------

    def load(self, name: str, attributes: tuple[str, ...]) -> None:
        scope = self.scope
        while scope.kind == "class":
            if name in scope.imports:
                self.through_import(scope.imports[name], attributes)
                return
            if name in scope.binds and name not in scope.globals:
                return
            scope = scope.parent or self.root
        scope.loads.append((name, attributes))

    def bind(self, name: str) -> None:
        scope = self.scope
        scope.binds.add(name)
        if name in scope.globals:
            self.root.loads.append((name, ()))

    def through_import(self, targets: list[Reference], attributes: tuple[str, ...]) -> None:
        for target in targets:
            self.references.add(
                target._replace(attributes=target.attributes + attributes, use="value"),
            )

    def open(self, kind: str) -> _Scope:
        self.scope = _Scope(kind, self.scope)
        return self.scope

    def close(self) -> None:
        scope = self.scope
        parent = scope.parent or self.root
        self.scope = parent
        while parent.kind == "class":  # a function in a class does not see the class's names
            parent = parent.parent or self.root
        if scope.kind == "class":
            return
        for name, attributes in scope.loads:
            if name in scope.imports:
                self.through_import(scope.imports[name], attributes)
            elif name in scope.globals:
                self.root.loads.append((name, attributes))
            elif name not in scope.binds or name in scope.nonlocals:
                parent.loads.append((name, attributes))

    def scanned(self) -> Scanned:
        for name, attributes in self.root.loads:
            if name not in self.root.binds:
                self.references.add(Reference(name, attributes))
        text = digest(_FORMAT, "".join(self.out))
        return Scanned(text, tuple(sorted(self.references)), tuple(dict.fromkeys(self.remarks)))

    def change(self, node: ast.expr) -> None:
        """Remembers that the name at the start of an expression is only put into."""
        while chain(node) is None:
            if isinstance(node, ast.Attribute | ast.Subscript):
                node = node.value
            elif isinstance(node, ast.Call):
                node = node.func
            else:
                return
        self.changing.add(id(node))

    def expression(self, node: ast.Expr) -> None:
        call = node.value
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr in _CHANGERS
        ):
            self.change(call.func)
        self.out.append("(Expr ")
        self.node(call)
        self.out.append(")")

    def name(self, node: ast.Name) -> None:
        if type(node.ctx) is ast.Load:
            self.load(node.id, (CHANGED,) if id(node) in self.changing else ())
        else:
            self.bind(node.id)
        self.out.append(f"(Name {node.id})")

    def attribute(self, node: ast.Attribute) -> None:
        found = chain(node)
        if found is not None:
            self.load(found[0], (*found[1], CHANGED) if id(node) in self.changing else found[1])
            self.out.append(f"(. {found[0]} {' '.join(found[1])})")
            return
        inner: ast.expr = node
        attributes: list[str] = []
        while isinstance(inner, ast.Attribute):
            attributes.append(inner.attr)
            inner = inner.value
        attributes.reverse()
        self.out.append(f"(. {' '.join(attributes)} of ")
        if isinstance(inner, ast.Call) and self.call(inner, tuple(attributes)):
            pass
        else:
            self.node(inner)
        self.out.append(")")

    def call(self, node: ast.Call, attributes: tuple[str, ...] = ()) -> bool:
        """Writes a call, and follows those whose result is a name that stands in the text: getattr, import_module."""
        out = self.out
        out.append("(Call ")
        function = chain(node.func)
        last = function[1][-1] if function and function[1] else function[0] if function else ""
        first = node.args[0] if node.args else None
        literal = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
        skip_first = False
        if last in ("import_module", "__import__") and first is not None:
            self.dynamic_import(node, literal, attributes if last == "import_module" else ())
        elif last == "getattr" and first is not None and len(node.args) >= 2:
            base = chain(first)
            second = node.args[1]
            if base is not None:
                known = isinstance(second, ast.Constant) and isinstance(second.value, str)
                extra = (second.value, *attributes) if known else (DYNAMIC,)  # type: ignore[attr-defined]
                self.load(base[0], (*base[1], *extra))
                out.append(f"(. {base[0]} {' '.join(base[1])})")
                skip_first = True
        self.node(node.func)
        for argument in node.args[1 if skip_first else 0 :]:
            self.node(argument)
        for keyword in node.keywords:
            out.append(f" {keyword.arg or '**'}=")
            self.node(keyword.value)
        out.append(")")
        return True

    def dynamic_import(self, node: ast.Call, literal: str | None, attributes: tuple[str, ...]) -> None:
        if literal is None:
            self.remarks.append((node.lineno, "imports a module whose name is only known at run time"))
            return
        module = literal.lstrip(".")
        level = len(literal) - len(module)
        # The result without an attribute is a module in somebody's hands: any of its names may be used.
        self.references.add(Reference("", attributes or (DYNAMIC,), module, level))

    def global_(self, node: ast.Global) -> None:
        self.scope.globals.update(node.names)
        for name in node.names:
            self.root.loads.append((name, ()))
        self.out.append(f"(Global {' '.join(sorted(node.names))})")

    def nonlocal_(self, node: ast.Nonlocal) -> None:
        self.scope.nonlocals.update(node.names)
        self.out.append(f"(Nonlocal {' '.join(sorted(node.names))})")

    def walrus(self, node: ast.NamedExpr) -> None:
        self.out.append(f"(NamedExpr {node.target.id} ")
        self.node(node.value)
        here = self.scope
        while self.scope.kind == "comprehension":
            self.scope = self.scope.parent or self.root
        self.bind(node.target.id)
        self.scope = here
        self.out.append(")")

    # Imports ---------------------------------------------------------------------------------------------------------

    def import_(self, node: ast.Import) -> None:
        for alias in node.names:
            self.out.append(f"(Import {alias.name} {alias.asname or ''})")
            self.references.add(Reference("", (), alias.name, 0, "import"))
            module = alias.name if alias.asname else alias.name.partition(".")[0]
            self.imported(
                alias.asname or module,
                Reference("", (), module, 0),
            )

    def import_from(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self.out.append(
                f"(ImportFrom {'.' * node.level}{node.module or ''} {alias.name} {alias.asname or ''})"
            )
            target = Reference("", (alias.name,), node.module or "", node.level)
            self.references.add(target._replace(use="import"))
            self.imported(alias.asname or alias.name, target)

    def imported(self, name: str, target: Reference) -> None:
        if self.scope is self.root:
            return  # the module's own index knows it
        self.scope.imports.setdefault(name, []).append(target)
        self.scope.binds.add(name)

    # Definitions -----------------------------------------------------------------------------------------------------

    def decorators(self, node: _FunctionNode | ast.ClassDef) -> None:
        if node in self.bare:
            return
        for decorator in node.decorator_list:
            head = decorator.func if isinstance(decorator, ast.Call) else decorator
            found = chain(head)
            if found is not None and self.is_framework(found[0]):
                continue
            self.out.append(" @")
            self.change(head)
            self.node(decorator)

    def function(self, node: _FunctionNode) -> None:
        self.bind(node.name)
        self.out.append(f"({type(node).__name__} {node.name}")
        self.decorators(node)
        typed = bool(getattr(node, "type_params", None))
        if typed:
            self.open("function")
            self.labelled("type_params", node.type_params)  # type: ignore[attr-defined,union-attr,unused-ignore]
        self.parameters(node.args)
        if node.returns is not None:
            self.out.append(" returns=")
            self.annotation(node.returns)
        scope = self.open("function")
        self.locals_of[node] = scope.binds
        self.bind_parameters(node.args)
        self.out.append(" body=[")
        self.block(node.body)
        self.out.append("])")
        self.close()
        if typed:
            self.close()

    def lambda_(self, node: ast.Lambda) -> None:
        self.out.append("(Lambda")
        self.parameters(node.args)
        scope = self.open("function")
        self.locals_of[node] = scope.binds
        self.bind_parameters(node.args)
        self.out.append(" body=")
        self.node(node.body)
        self.out.append(")")
        self.close()

    def parameters(self, args: ast.arguments) -> None:
        for label, group in (
            ("/", args.posonlyargs),
            ("", args.args),
            ("*", [args.vararg] if args.vararg else []),
            ("=", args.kwonlyargs),
            ("**", [args.kwarg] if args.kwarg else []),
        ):
            for arg in group:
                self.out.append(f" ({label}{arg.arg}")
                if arg.annotation is not None:
                    self.out.append(":")
                    self.annotation(arg.annotation)
                self.out.append(")")
        self.labelled("defaults", args.defaults)
        self.labelled("kw_defaults", args.kw_defaults)

    def bind_parameters(self, args: ast.arguments) -> None:
        for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs):
            self.scope.binds.add(arg.arg)
        for one in (args.vararg, args.kwarg):
            if one is not None:
                self.scope.binds.add(one.arg)

    def annotation(self, node: ast.expr) -> None:
        """An annotation: ``"Table"`` and ``Table`` are one text, and a string inside it may name a class."""
        before, self.in_annotation = self.in_annotation, True
        self.node(_parsed(node) or node)
        self.in_annotation = before

    def subscript(self, node: ast.Subscript) -> None:
        self.out.append("(Subscript ")
        self.node(node.value)
        before = self.in_annotation
        head = chain(node.value)
        if head is not None and (head[0], *head[1])[-1] in ("Literal", "Annotated"):
            self.in_annotation = False
        self.out.append(" [")
        self.node(node.slice)
        self.out.append("])")
        self.in_annotation = before

    def literal(self, node: ast.Constant) -> None:
        self.out.append(constant(node.value) + " ")
        if self.in_annotation and isinstance(node.value, str):
            parsed = _parsed(node)
            if parsed is not None:  # for its names only: the text is the string
                out, self.out = self.out, []
                self.node(parsed)
                self.out = out

    def class_(self, node: ast.ClassDef) -> None:
        self.bind(node.name)
        self.out.append(f"(ClassDef {node.name}")
        self.decorators(node)
        typed = bool(getattr(node, "type_params", None))
        if typed:
            self.open("function")
            self.labelled("type_params", node.type_params)  # type: ignore[attr-defined,unused-ignore]
        self.labelled("bases", node.bases)
        for keyword in node.keywords:
            self.out.append(f" {keyword.arg or '**'}=")
            self.node(keyword.value)
        self.open("class")
        self.out.append(" body=[")
        self.block(node.body)
        self.out.append("])")
        self.close()
        if typed:
            self.close()

    def type_parameter(self, node: ast.AST) -> None:
        self.bind(node.name)  # type: ignore[attr-defined]
        self.out.append(f"({type(node).__name__} {node.name}")  # type: ignore[attr-defined]
        self.labelled("bound", getattr(node, "bound", None))
        self.labelled("default", getattr(node, "default_value", None))
        self.out.append(")")

    def assign_annotated(self, node: ast.AnnAssign) -> None:
        """In a class an annotation is a field's type; elsewhere it does nothing, so the text is the assignment's."""
        if self.scope.kind == "class":
            self.out.append("(AnnAssign ")
            self.annotation(node.annotation)
            self.labelled("value", node.value)
            self.out.append(" ")
            self.node(node.target)
            self.out.append(")")
        elif node.value is None:
            out, self.out = self.out, []
            self.node(node.target)
            self.out = out
        else:
            self.assigned(node.value, [node.target])

    def assign(self, node: ast.Assign) -> None:
        self.assigned(node.value, node.targets)

    def assigned(self, value: ast.expr, targets: list[ast.expr]) -> None:
        """The value first, as it is computed first: in a class, ``limit = limit`` reads the module's."""
        self.out.append("(Assign ")
        self.node(value)
        for target in targets:
            if isinstance(target, ast.Subscript):
                self.change(target.value)
            self.out.append(" to ")
            self.node(target)
        self.out.append(")")

    def assign_augmented(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.load(node.target.id, ())
        self.out.append(f"({type(node.op).__name__}Assign ")
        self.node(node.target)
        self.out.append(" ")
        self.node(node.value)
        self.out.append(")")

    # Expressions and statements with scopes of their own -----------------------------------------------------------------

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        self.out.append(f"({type(node).__name__} ")
        self.out.append("in ")
        self.node(node.generators[0].iter)  # the first iterable belongs to the scope around
        self.open("comprehension")
        for position, generator in enumerate(node.generators):
            self.out.append(" async for " if generator.is_async else " for ")
            self.node(generator.target)
            if position:
                self.out.append(" in ")
                self.node(generator.iter)
            self.labelled("ifs", generator.ifs)
        self.out.append(" give ")
        if isinstance(node, ast.DictComp):
            self.node(node.key)
            self.node(node.value)
        else:
            self.node(node.elt)
        self.close()
        self.out.append(")")

    def handler(self, node: ast.ExceptHandler) -> None:
        self.out.append(f"(except {node.name or ''}")
        if node.name:
            self.bind(node.name)
        self.labelled("type", node.type)
        self.out.append(" body=[")
        self.block(node.body)
        self.out.append("])")

    def match_name(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self.bind(node.name)
        self.out.append(f"({type(node).__name__} {node.name or ''}")
        self.labelled("pattern", getattr(node, "pattern", None))
        self.out.append(")")

    def match_mapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self.bind(node.rest)
        self.out.append(f"(MatchMapping {node.rest or ''}")
        self.labelled("keys", node.keys)
        self.labelled("patterns", node.patterns)
        self.out.append(")")

    def joined(self, node: ast.JoinedStr) -> None:
        """An f-string, with neighbouring texts made one: versions of the parser cut them differently."""
        pieces: list[ast.expr | str] = []
        for value in node.values:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                if pieces and isinstance(pieces[-1], str):
                    pieces[-1] += value.value
                elif value.value:
                    pieces.append(value.value)
            else:
                pieces.append(value)
        if all(isinstance(piece, str) for piece in pieces):
            self.out.append(constant("".join(piece for piece in pieces if isinstance(piece, str))) + " ")
            return
        self.out.append("(JoinedStr ")
        for piece in pieces:
            if isinstance(piece, str):
                self.out.append(constant(piece) + " ")
            else:
                self.node(piece)
        self.out.append(")")

    def formatted(self, node: ast.FormattedValue) -> None:
        self.out.append(f"({{}} {node.conversion} ")
        self.node(node.value)
        if node.format_spec is not None:
            before = len(self.out)
            self.node(node.format_spec)
            if self.out[before:] == ['s"" ']:  # "{x:}" is "{x}"
                del self.out[before:]
        self.out.append(")")


def _parsed(node: ast.expr) -> ast.expr | None:
    """The expression that a string in an annotation holds."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return ast.parse(node.value.strip(), mode="eval").body
        except SyntaxError:
            return None
    return None


_SHAPES: dict[type[ast.AST], tuple[str, tuple[tuple[str, str], ...]]] = {}
_HANDLERS: dict[type[ast.AST], Callable[[_Walk, Any], Any]] = {
    ast.Name: _Walk.name,
    ast.Attribute: _Walk.attribute,
    ast.Call: _Walk.call,
    ast.Constant: _Walk.literal,
    ast.Subscript: _Walk.subscript,
    ast.Global: _Walk.global_,
    ast.Nonlocal: _Walk.nonlocal_,
    ast.NamedExpr: _Walk.walrus,
    ast.Import: _Walk.import_,
    ast.ImportFrom: _Walk.import_from,
    ast.FunctionDef: _Walk.function,
    ast.AsyncFunctionDef: _Walk.function,
    ast.Lambda: _Walk.lambda_,
    ast.ClassDef: _Walk.class_,
    ast.Expr: _Walk.expression,
    ast.Assign: _Walk.assign,
    ast.AnnAssign: _Walk.assign_annotated,
    ast.AugAssign: _Walk.assign_augmented,
    ast.ExceptHandler: _Walk.handler,
    ast.MatchAs: _Walk.match_name,
    ast.MatchStar: _Walk.match_name,
    ast.MatchMapping: _Walk.match_mapping,
    ast.JoinedStr: _Walk.joined,
    ast.FormattedValue: _Walk.formatted,
    **dict.fromkeys(_COMPREHENSIONS, _Walk.comprehension),
    **{
        getattr(ast, kind): _Walk.type_parameter
        for kind in ("TypeVar", "ParamSpec", "TypeVarTuple")
        if hasattr(ast, kind)
    },
}
