"""Walks objects of the interpreter to where their code stands in the files, and reads what they hold.

A function's text is always the file's; what only the object knows (the values that a closure, a partial or an instance
holds, the function behind a wrapper) is read from it. Values that came from the environment or from a path never count.
"""

from __future__ import annotations

import ast
import functools
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from anabranch.pipeline.canonical import bound_names, digest, scan
from anabranch.pipeline.files import ProjectFiles
from anabranch.pipeline.parts import Node, Part
from anabranch.pipeline.reach import Reach
from anabranch.pipeline.sources import DEFINITIONS, FRAMEWORKS, FUNCTIONS, LOOPS, Place, Source, Unit
from anabranch.pipeline.values import value_text

_TAG = f"py{sys.version_info.major}.{sys.version_info.minor}"
_LEAKS = frozenset(
    {
        "environ",
        "environb",
        "getenv",
        "__file__",
        "EnvVar",
        "CloneOf",
        "getpass",
        "gethostname",
        "cwd",
        "getcwd",
    }
)
_MEMBERS = 10_000
_FLAGS = 0x3AC  # *args, **kwargs, generators and coroutines; not where it stands, nor __future__
_BUILTINS = (
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
)
_CODE = (
    types.FunctionType,
    types.MethodType,
    types.ModuleType,
    functools.partial,
    functools.partialmethod,
    staticmethod,
    classmethod,
    property,
    type,
    *_BUILTINS,
)


class Objects:
    """Finds the definitions of live objects in a project's files.

    Args:
        files: The project's files.
    """

    def __init__(self, files: ProjectFiles) -> None:
        self.files = files
        self.reach = Reach(files, self._members)
        self._places: dict[tuple[str, int, int], Node] = {}

    def _members(self, source: Source, name: str, unit: Unit) -> Iterator[tuple[str, Node]]:
        """The functions and classes of the project that were put into a module's object from elsewhere."""
        module = sys.modules.get(source.name)
        value = getattr(module, "__dict__", {}).get(name)
        if value is None or isinstance(value, (str, int, float, bytes, type, types.ModuleType)):
            return
        if (type(value).__module__ or "").partition(".")[0] in FRAMEWORKS:
            return
        if isinstance(value, types.FunctionType):
            value = getattr(value, "registry", None)  # functools.singledispatch
            if not isinstance(value, types.MappingProxyType):
                return
        for one in _functions_in(value, 0, []):
            inner = _unwrapped(one)
            if isinstance(inner, types.FunctionType):
                code = inner.__code__
                if self.files.relative(code.co_filename) is None:
                    continue
                here = self.files.source_of_code(code, inner.__globals__) is source
                if here and any(first <= code.co_firstlineno <= last for first, last in unit.spans):
                    continue  # it is in the text already
            elif self.files.module(getattr(inner, "__module__", "") or "") is None:
                continue
            walk = ObjectWalk(self, "")
            walk.visit(inner, "member")
            yield from walk.edges

    def of_code(self, source: Source, code: types.CodeType) -> tuple[Node | None, Place | None]:
        """The node of a code object, and its place if it is not simply a name of its module's top level."""
        name = source.alone.get(code.co_firstlineno)
        if name is not None and name == code.co_name == code.co_qualname:
            return self.reach.definition(source, name), None
        outer = code.co_qualname.partition(".")[0]
        unit = source.units.get(outer)
        if unit is not None and unit.kind == "class" and "<" not in code.co_qualname:
            first, last = unit.spans[0]
            if unit.alone and first <= code.co_firstlineno <= last:
                return self.reach.definition(source, outer), None  # a method counts with its class
        if code.co_name == "<lambda>":
            place = _matching_lambda(source, code)
        else:
            places = source.places.get(code.co_firstlineno, ())
            place = next(
                (p for p in places if isinstance(p.node, FUNCTIONS) and p.node.name == code.co_name), None
            )
        return (None, None) if place is None else (self.at(source, place, frozenset(code.co_freevars)), place)

    def at(self, source: Source, place: Place, free: frozenset[str]) -> Node:
        """The node of one definition, found by its place rather than by its name.

        Args:
            source: Its file.
            place: Where it stands.
            free: The names that it holds in a closure.
        """
        node = place.node
        key = (source.name, node.lineno, node.col_offset)
        found = self._places.get(key)
        if found is not None:
            return found
        local: set[str] = set()
        for around in place.within:
            if isinstance(around, (*FUNCTIONS, ast.Lambda)):
                local |= bound_names(around)
        scanned = scan([node], is_framework=source.is_framework)
        head_uses = {r.name for r in scanned.references} & local - free

        def expand(asker: Node) -> list[tuple[str, Node]]:
            outside = [r for r in scanned.references if r.name not in local]
            edges = self.reach.edges(source, outside, scanned.remarks, asker)
            if head_uses and isinstance(place.top, DEFINITIONS):
                # Decorators and defaults use locals of the function around, which are in no closure.
                edges.append(("around", self.reach.definition(source, place.top.name)))
            return edges

        names = [source.name, *(getattr(n, "name", "<lambda>") for n in place.within)]
        part = Part(
            f"{source.name}.{place.qualname}",
            "class" if isinstance(node, ast.ClassDef) else "function",
            scanned.hash,
            source.relative,
            node.lineno,
        )
        within = tuple(".".join(names[: i + 1]) for i in range(1, len(names)))
        found = self._places[key] = Node(part, expand, within)
        return found


class ObjectWalk:
    """Walks objects of the interpreter to where their code stands in the files."""

    def __init__(self, objects: Objects, name: str) -> None:
        self.objects = objects
        self.files = objects.files
        self.reach = objects.reach
        self.name = name
        self.edges: list[tuple[str, Node]] = []
        self.notes: list[str] = []
        self.again: list[str] = []
        self.seen: dict[int, str] = {}
        self.kept: list[object] = []

    def add(self, label: str, nodes: Iterable[Node]) -> None:
        self.edges.extend((label, node) for node in nodes)

    def remember(self, one: object, label: str) -> None:
        self.seen[id(one)] = label
        self.kept.append(one)  # an id is only an object's as long as it lives

    def visit(self, one: Any, label: str) -> None:
        """Adds the code of an object; of one seen before only that it is, for functions refer to themselves."""
        if id(one) in self.seen:
            self.again.append(f"{label} is {self.seen[id(one)]}")
            return
        self.remember(one, label)
        code = _declared_code(one)
        if code is not None:
            for position, inner in enumerate(code):
                self.visit(inner, f"{label}.{position}")
        elif isinstance(one, functools.partial | functools.partialmethod):
            self.visit(one.func, f"{label}.func")
            called = _name_of(one.func) or self.name
            for position, argument in enumerate(one.args):
                self.value(argument, f"{label}.args.{position}", f"{called}({position})")
            for keyword, argument in sorted(one.keywords.items()):
                self.value(argument, f"{label}.keywords.{keyword}", f"{called}({keyword}=)")
        elif isinstance(one, types.FunctionType):
            self.function(one, label)
        elif isinstance(one, types.MethodType):
            self.visit(one.__func__, f"{label}.func")
            self.visit(one.__self__, f"{label}.self")
        elif isinstance(one, (staticmethod, classmethod)):
            self.visit(one.__func__, label)
        elif isinstance(one, property):
            for accessor in filter(None, (one.fget, one.fset, one.fdel)):
                self.visit(accessor, f"{label}.{accessor.__name__}")
        elif isinstance(one, type):
            self.class_(one, label)
        elif isinstance(one, types.ModuleType):
            asker = Node(Part(self.name or one.__name__, "module", ""))
            self.add(label, self.reach.imported(one.__name__, (), asker))
        elif _wraps(one):
            self.visit(one.__wrapped__, f"{label}.wrapped")  # functools.lru_cache and its like
            self.foreign_type(type(one), label)
        elif isinstance(one, _BUILTINS):
            self.builtin(one, label)
        else:
            del self.seen[id(one)]
            self.value(one, label, self.name or type(one).__name__)

    # Functions -------------------------------------------------------------------------------------------------------

    def function(self, function: types.FunctionType, label: str) -> None:
        code = function.__code__
        source = self.files.source_of_code(code, function.__globals__)
        if source is None:
            self.without_source(function, label)
        else:
            node, place = self.objects.of_code(source, code)
            if node is None:
                self.notes.append(
                    f"{_name_of(function) or self.name} is not where {source.relative} had it when it was imported, "
                    f"so its bytecode counts"
                )
                self.bytecode(function, label)
            else:
                self.add(label, [node])
                if place is not None:
                    name = f"{source.name}.{place.qualname}"
                    self.closure(function, label, name, place)
                    if place.repeated:
                        self.defaults(function, label, name, place)
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            self.visit(wrapped, f"{label}.wrapped")

    def closure(self, function: types.FunctionType, label: str, name: str, place: Place | None) -> None:
        for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            try:
                held = cell.cell_contents
            except ValueError:
                continue  # not bound yet
            if variable == "__class__":
                continue  # its class is counted with the method
            if place is not None and _is_secretive(place, variable):
                self.notes.append(
                    f"{variable} in {name} comes from the environment or a path, so its value does not count"
                )
                continue
            self.value(held, f"{label}[{variable}]", f"{name}[{variable}]")

    def defaults(self, function: types.FunctionType, label: str, name: str, place: Place) -> None:
        """The values of defaults that were taken from a loop or a function around: their text is always the same."""
        local = _around(place)
        arguments = place.node.args if isinstance(place.node, (*FUNCTIONS, ast.Lambda)) else None
        if arguments is None:
            return
        positional = [*arguments.posonlyargs, *arguments.args]
        values = dict(
            zip(
                [a.arg for a in positional][len(positional) - len(function.__defaults__ or ()) :],
                function.__defaults__ or (),
                strict=False,
            )
        )
        values.update(function.__kwdefaults__ or {})
        texts = dict(
            zip(
                [a.arg for a in positional][len(positional) - len(arguments.defaults) :],
                arguments.defaults,
                strict=False,
            )
        )
        texts.update(
            {a.arg: d for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d}
        )
        for argument, text in texts.items():
            names = {n.id for n in ast.walk(text) if isinstance(n, ast.Name)}
            if names & local and not _mentions_leak(text) and argument in values:
                self.value(values[argument], f"{label}({argument})", f"{name}({argument}=)")

    def without_source(self, function: types.FunctionType, label: str) -> None:
        """A function of a library, or one that was made at run time."""
        module = function.__module__ or ""
        nodes = self.reach.foreign(module, ()) if module else []
        installed = Path(function.__code__.co_filename).exists()
        if module.partition(".")[0] in FRAMEWORKS:
            pass
        elif installed and (nodes or module.partition(".")[0] in sys.stdlib_module_names):
            self.add(label, nodes)
        else:
            self.notes.append(
                f"{_name_of(function) or self.name} has no source, so its bytecode counts, "
                f"and it counts as changed on another Python than {_TAG[2:]}"
            )
            self.bytecode(function, label)
            return
        for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            try:
                held = cell.cell_contents
            except ValueError:
                continue
            if isinstance(held, types.FunctionType | types.MethodType | functools.partial | type):
                self.visit(held, f"{label}[{variable}]")

    def bytecode(self, function: types.FunctionType, label: str) -> None:
        name = _name_of(function) or self.name or "<function>"
        part = Part(name, "opaque", f"{_TAG}:{_bytecode(function.__code__)}")
        self.add(label, [Node(part)])
        for used in _all_names(function.__code__):
            held = function.__globals__.get(used)
            if isinstance(held, types.FunctionType | type | types.ModuleType | functools.partial):
                self.visit(held, f"{label}.{used}")
        self.closure(function, label, name, None)

    def builtin(self, one: Any, label: str) -> None:
        module = (
            getattr(one, "__module__", None)
            or getattr(getattr(one, "__objclass__", None), "__module__", "")
            or ""
        )
        nodes = self.reach.foreign(module, ())
        name = f"{module}.{one.__name__}" if module else one.__name__
        owner = " and ".join(f"{n.part.name} {n.part.hash}" for n in nodes) or "Python itself"
        self.notes.append(f"{name} is written in C and can't be read: it changes with {owner}")
        self.add(label, [Node(Part(name, "opaque", digest("builtin", name))), *nodes])

    # Classes and values ----------------------------------------------------------------------------------------------

    def class_(self, one: type, label: str) -> None:
        module = getattr(one, "__module__", "") or ""
        source = self.files.module(module)
        if module == "__main__" and source is None:
            file = getattr(sys.modules.get("__main__"), "__file__", None)
            source = self.files.source_at(str(file), "__main__") if file else None
        if source is None:
            self.foreign_type(one, label)
            return
        outer = one.__qualname__.partition(".")[0]
        unit = source.units.get(outer)
        if "<locals>" not in one.__qualname__ and unit is not None and unit.kind == "class":
            self.add(label, [self.reach.definition(source, outer)])
            return
        path = one.__qualname__.replace(".<locals>", "")
        places = [p for p in source.classes.get(path, ()) if p.repeated]
        if not places:
            self.made_class(one, label)
            return
        self.add(label, [self.objects.at(source, place, frozenset()) for place in places])
        for attribute, member in sorted(vars(one).items()):
            inner = _unwrapped(member)
            if isinstance(inner, types.FunctionType) and inner.__closure__:
                _, place = self.objects.of_code(source, inner.__code__)
                self.closure(inner, f"{label}.{attribute}", f"{module}.{path}.{attribute}", place)

    def made_class(self, one: type, label: str) -> None:
        name = f"{one.__module__}.{one.__qualname__}"
        names = sorted(n for n in vars(one) if not (n.startswith("__") and n.endswith("__")))
        self.notes.append(f"the class {name} was made at run time, so its bases and methods count")
        self.add(label, [Node(Part(name, "opaque", digest("class", one.__qualname__, *names)))])
        for base in one.__bases__:
            self.visit(base, f"{label}.base")
        for attribute, member in sorted(vars(one).items()):
            inner = _unwrapped(member)
            if isinstance(inner, types.FunctionType) and self.files.relative(inner.__code__.co_filename):
                self.visit(inner, f"{label}.{attribute}")

    def foreign_type(self, one: type, label: str) -> None:
        self.add(label, self.reach.foreign(one.__module__ or "", ()))

    def value(self, held: Any, label: str, name: str) -> None:
        """A value that code holds: by its text if it is plain, and the code in it."""
        if _is_code(held):
            self.visit(held, label)
            return
        count = 0

        def other(one: Any) -> str:
            nonlocal count
            count += 1
            return self.state(one, f"{label}.{count}", name, other)

        text = value_text(held, other)
        if text == "path":
            return
        self.add(label, [Node(Part(name, "constant", digest("value", text)))])

    def state(self, one: Any, label: str, name: str, other: Callable[[object], str]) -> str:
        """The text of a value that is not plain; what it is an instance of is followed."""
        kind = type(one)
        module = kind.__module__ or ""
        if _is_code(one):
            self.visit(one, label)
            return f"<{label.rpartition('.')[2]}>"
        if isinstance(one, Enum):
            self.visit(kind, label)
            return f"{kind.__qualname__}.{one.name}"
        if id(one) in self.seen:
            return f"<{self.seen[id(one)]}>"
        self.remember(one, label)
        if module.partition(".")[0] in FRAMEWORKS or _is_logger(one):
            return f"{module}.{kind.__qualname__}"
        self.class_(kind, label)
        if isinstance(one, tuple | list | set | frozenset | dict):
            plain: Any = dict(one) if isinstance(one, dict) else list(one)
            return f"{kind.__qualname__} {value_text(plain, other)}"
        if self.files.module(module) is not None:
            state = dict(getattr(one, "__dict__", {}))
            for slot in (s for c in kind.__mro__ for s in _slots(c)):
                if hasattr(one, slot):
                    state[slot] = getattr(one, slot)
            kept = {k: v for k, v in sorted(state.items()) if not k.startswith("__")}
            return f"{kind.__qualname__} {value_text(kept, other)}"
        self.notes.append(
            f"the value of {name} is a {module}.{kind.__qualname__}, which can't be read: only its type counts"
        )
        return f"{module}.{kind.__qualname__}"


def _is_logger(one: object) -> bool:
    # Whoever has a logger has imported logging; nobody else needs it.
    logging = sys.modules.get("logging")
    return logging is not None and isinstance(one, logging.Logger)


def _declared_code(one: object) -> tuple[Any, ...] | None:
    if isinstance(one, type | types.ModuleType):
        return None
    try:
        code = getattr(one, "__anabranch_code__", None)
    except Exception:  # noqa: BLE001 - a foreign object's own attribute access may raise anything
        return None
    return code if isinstance(code, tuple) else None


def _wraps(one: object) -> bool:
    """Whether an object stands for a function of the program, as functools.lru_cache makes them."""
    try:
        inner = getattr(one, "__wrapped__", None)
    except Exception:  # noqa: BLE001 - a foreign object's own attribute access may raise anything
        return False
    return isinstance(inner, types.FunctionType | types.MethodType | functools.partial)


def _is_code(one: object) -> bool:
    return isinstance(one, _CODE) or _declared_code(one) is not None or _wraps(one)


def _unwrapped(one: Any) -> Any:
    """The function inside methods, properties and partials."""
    for _ in range(20):
        if isinstance(one, staticmethod | classmethod | types.MethodType):
            one = one.__func__
        elif isinstance(one, property):
            one = one.fget
        elif isinstance(one, functools.partial):
            one = one.func
        else:
            break
    return one


def _functions_in(value: Any, depth: int, found: list[Any]) -> list[Any]:
    """The functions and classes in a container, or in the containers of an object, two levels down."""
    if depth > 3 or len(found) > _MEMBERS:
        return found
    if isinstance(value, types.FunctionType | types.MethodType | functools.partial | type):
        found.append(value)
    elif isinstance(value, dict | types.MappingProxyType):
        for inner in list(value.values())[:_MEMBERS]:
            _functions_in(inner, depth + 1, found)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in list(value)[:_MEMBERS]:
            _functions_in(inner, depth + 1, found)
    elif depth == 0 and isinstance(getattr(value, "__dict__", None), dict):
        for inner in value.__dict__.values():
            if isinstance(inner, dict | list | tuple | set | frozenset):
                _functions_in(inner, depth + 1, found)
    return found


def _around(place: Place) -> set[str]:
    """The names that a definition takes from functions and loops around it."""
    names: set[str] = set()
    for outer in place.within:
        if isinstance(outer, (*FUNCTIONS, ast.Lambda)):
            names |= bound_names(outer)
    for node in ast.walk(place.top):
        if isinstance(node, (*LOOPS, ast.comprehension)):
            target = getattr(node, "target", None)
            scope: Iterable[ast.AST] = ast.walk(target) if target is not None else ()
            if isinstance(node, LOOPS):
                scope = ast.walk(node)
            names |= {n.id for n in scope if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names


def _mentions_leak(node: ast.AST) -> bool:
    for inner in ast.walk(node):
        if (isinstance(inner, ast.Name) and inner.id in _LEAKS) or (
            isinstance(inner, ast.Attribute) and inner.attr in _LEAKS
        ):
            return True
    return False


def _is_secretive(place: Place, variable: str) -> bool:
    """Whether a function around assigns the variable from the environment or from where the file lies."""
    for function in place.within:
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.NamedExpr)
                and node.value is not None
                and _mentions_leak(node.value)
            ):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(isinstance(n, ast.Name) and n.id == variable for t in targets for n in ast.walk(t)):
                    return True
    return False


def _matching_lambda(source: Source, code: types.CodeType) -> Place | None:
    """The lambda of a code object: by line, and by columns where several stand on one line."""
    candidates = source.lambdas.get(code.co_firstlineno, [])
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    spans = [p for p in code.co_positions() if None not in p and p[3] != 0]
    inside: list[Place] = []
    for place in candidates:
        body = place.node.body
        assert isinstance(body, ast.expr)
        start, end = (body.lineno, body.col_offset), (body.end_lineno or 0, body.end_col_offset or 0)
        if spans and all((p[0], p[2]) >= start and (p[1], p[3]) <= end for p in spans):
            if any(((p[0], p[2]), (p[1], p[3])) == (start, end) for p in spans):
                return place
            inside.append(place)
    if spans:
        return inside[0] if inside else None
    # Python 3.12 keeps no columns for a lambda that only gives a constant, and none at all with -X no_debug_ranges.
    return next((place for place in candidates if _compiled(place.node) == _bytecode(code)), None)


def _compiled(node: ast.AST) -> str | None:
    assert isinstance(node, ast.Lambda)
    made = compile(ast.Expression(node), "<lambda>", "eval", dont_inherit=True).co_consts[0]
    return _bytecode(made) if isinstance(made, types.CodeType) else None


def _bytecode(code: types.CodeType) -> str:
    """The hash of what a code object does; neither its file nor its lines are in it."""
    constants = [
        _bytecode(value) if isinstance(value, types.CodeType) else value_text(value, repr)
        for value in code.co_consts
    ]
    return digest(
        code.co_code.hex(),
        *constants,
        "names",
        *code.co_names,
        "variables",
        *code.co_varnames,
        "free",
        *code.co_freevars,
        f"{code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount} {code.co_flags & _FLAGS}",
    )


def _all_names(code: types.CodeType) -> list[str]:
    names = set(code.co_names)
    for value in code.co_consts:
        if isinstance(value, types.CodeType):
            names.update(_all_names(value))
    return sorted(names)


def _name_of(one: Any) -> str:
    name = getattr(one, "__qualname__", None) or getattr(one, "__name__", None)
    if not isinstance(name, str):
        return ""
    module = getattr(one, "__module__", None)
    return f"{module}.{name.replace('.<locals>', '')}" if module else name


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)
