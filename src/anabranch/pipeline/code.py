"""Reads the code of functions and classes as the project's files have it, and follows what it reaches.

The interpreter's objects only say where to begin, and what a closure holds; everything else is read from the files'
syntax trees, so that the answer is the same in every process and on every Python, whatever was imported before. What
is reached: functions, classes and constants of the project, by the scopes' rules; distributions, by version. The
standard library is not, nor is anabranch itself: its release would rebuild everybody's tables, and what its decorators
say that decides content (partitions, keys, config) the definitions hand to the fingerprint by themselves. For the same
reason decorators of anabranch are left out of the text.

Where code can't be followed (``exec``, a name that is put together at run time, a function without source) a note says
so. Not followed, because nothing in the text leads there: a method called on a value whose class no annotation names,
a change that another module makes to a constant (unless what is put there are functions, which are found in it), data
files.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib.util
import logging
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from anabranch.pipeline.canonical import (
    CHANGED,
    DYNAMIC,
    Reference,
    Scanned,
    bound_names,
    chain,
    digest,
    scan,
)
from anabranch.pipeline.distributions import Distributions
from anabranch.pipeline.sources import DEFINITIONS, FUNCTIONS, LOOPS, Place, Source, blocks, cut, first_line
from anabranch.pipeline.values import value_text

PartKind = Literal["function", "class", "constant", "module", "distribution", "sql", "resource", "opaque"]
FRAMEWORK = "anabranch"
_TAG = f"py{sys.version_info.major}.{sys.version_info.minor}"
_INSTALLED = frozenset({"site-packages", "dist-packages", "node_modules", "__pypackages__"})
_BLIND = frozenset({"exec", "eval", "compile", "globals"})
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
_LEAKS = frozenset(
    {"environ", "environb", "getenv", "__file__", "EnvVar", "getpass", "gethostname", "cwd", "getcwd"}
)
_MEMBERS = 10_000


@dataclass(frozen=True)
class Part:
    """One thing that a code hash is made of.

    Attributes:
        name: ``flights.helpers.clean``, ``distribution polars``.
        kind: What it is.
        hash: Of its own text, not of what it reaches; a distribution's version.
        file: Relative to the project's root, with ``/``; None if it stands in no file of the project.
        line: Where it begins there, from 1.
    """

    name: str
    kind: PartKind
    hash: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        if self.kind == "distribution":
            return self.name
        place = f" ({self.file}:{self.line})" if self.file and self.line else ""
        return f"{self.kind} {self.name}{place}"


@dataclass(frozen=True)
class CodeFingerprint:
    """The code of an asset.

    Attributes:
        hash: 32 hexadecimal digits, of all parts' texts and of which name leads to which; not of the parts' names, so
            a helper that moves to another module changes nothing.
        parts: Sorted by name; no two have one name.
        notes: What could not be analysed, a sentence each.
    """

    hash: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...]


class _Node:
    """A part and where its names lead; ``edges`` is filled when it is first walked through, for code has rings."""

    __slots__ = ("edges", "expand", "notes", "part", "within")

    def __init__(
        self,
        part: Part,
        expand: Callable[[_Node], list[tuple[str, _Node]]] | None = None,
        within: tuple[str, ...] = (),
    ) -> None:
        self.part = part
        self.expand = expand
        self.edges: list[tuple[str, _Node]] | None = None
        self.notes: list[str] = []
        self.within = within  # the keys of the definitions around it

    def reach(self) -> list[tuple[str, _Node]]:
        if self.edges is None:
            self.edges = []
            if self.expand is not None:
                self.edges = sorted(
                    dict.fromkeys(self.expand(self)),
                    key=lambda edge: (edge[0], edge[1].part.kind, edge[1].part.hash, edge[1].part.name),
                )
        return self.edges


class CodeReader:
    """Reads each file of a project at most once; make a new reader to see edits.

    Args:
        project_root: Files below it are the project's, except installed ones.
        also: Further folders whose files count as the project's.
    """

    def __init__(self, project_root: Path, *, also: Sequence[Path] = ()) -> None:
        self.project_root = Path(os.path.abspath(project_root))
        self.also = tuple(Path(os.path.abspath(folder)) for folder in also)
        self._folders = [(str(f), os.path.realpath(f)) for f in (self.project_root, *self.also)]
        self._relative: dict[str, str | None] = {}
        self._by_path: dict[str, Source] = {}
        self._modules: dict[str, Source | None] = {}
        self._nodes: dict[tuple[str, str, bool], _Node] = {}
        self._places: dict[tuple[str, int, int], _Node] = {}
        self._distributions = Distributions()
        self._distribution_nodes: dict[object, _Node] = {}
        self._framework: dict[tuple[str, str, tuple[str, ...]], bool] = {}

    # What the product calls ------------------------------------------------------------------------------------------

    def of(self, *objects: object, name: str | None = None) -> CodeFingerprint:
        """The code of functions, methods, classes, lambdas, partials, callable instances, and of all they reach.

        An object that has ``__anabranch_code__``, a tuple of objects, is read as those objects.

        Args:
            objects: Whose code it is, in an order that counts.
            name: What to call values and functions that have no name of their own; the asset's name.
        """
        walk = _Live(self, name or "")
        for position, one in enumerate(objects):
            walk.visit(one, f"{position}")
        return _summary(walk.edges, walk.notes)

    def files(self) -> dict[str, str]:
        """Relative path → SHA-256 of every file of the project that was read so far."""
        return {
            s.relative: s.sha256 for s in sorted(self._by_path.values(), key=lambda s: s.relative) if s.path
        }

    def is_project_file(self, path: str | os.PathLike[str]) -> bool:
        """Whether a file belongs to the project: below its folders, and not installed there."""
        return self._relative_path(os.fspath(path)) is not None

    # Files and modules -----------------------------------------------------------------------------------------------

    def _relative_path(self, path: str) -> str | None:
        if path not in self._relative:
            self._relative[path] = self._place_in_project(path)
        return self._relative[path]

    def _place_in_project(self, path: str) -> str | None:
        if not path or path.startswith("<"):
            return None
        absolute = os.path.abspath(path)
        real = os.path.realpath(path)
        for position, (folder, real_folder) in enumerate(self._folders):
            for candidate, base in ((absolute, folder), (real, real_folder)):
                if candidate != base and not candidate.startswith(base.rstrip(os.sep) + os.sep):
                    continue
                if _INSTALLED.intersection(candidate.split(os.sep)) - _INSTALLED.intersection(
                    base.split(os.sep)
                ):
                    return None
                prefix = sys.prefix + os.sep
                if candidate.startswith(prefix) and not base.startswith(prefix) and base != sys.prefix:
                    return None
                inner = os.path.relpath(candidate, base).replace(os.sep, "/")
                return inner if position == 0 else f"{os.path.basename(folder)}/{inner}"
        return None

    def _source_at(self, path: str, name: str, *, is_package: bool | None = None) -> Source | None:
        """The parsed file at a path, or None if it is not the project's or has no text."""
        real = os.path.realpath(path)
        found = self._by_path.get(real)
        if found is not None:
            return found
        relative = self._relative_path(path)
        if relative is None or not path.endswith(".py") or not os.path.isfile(path):
            return None
        package = os.path.basename(path) == "__init__.py" if is_package is None else is_package
        folders = (Path(path).parent,) if package else ()
        source = Source(name, Path(path), relative, is_package=package, folders=folders)
        self._by_path[real] = source
        return source

    def _module(self, name: str) -> Source | None:
        """A module of the project by its dotted name; None for anybody else's."""
        if name not in self._modules:
            self._modules[name] = self._find_module(name) if name else None
        return self._modules[name]

    def _find_module(self, name: str) -> Source | None:
        top, _, _ = name.partition(".")
        if top == FRAMEWORK:
            return None
        loaded = sys.modules.get(name)
        if loaded is not None:
            file = getattr(loaded, "__file__", None)
            if file:
                return self._source_at(str(file), name, is_package=hasattr(loaded, "__path__"))
            return self._namespace(name, [Path(p) for p in getattr(loaded, "__path__", ())])
        parent, _, last = name.rpartition(".")
        if parent:
            source = self._module(parent)
            return self._search(name, last, source.folders) if source is not None else None
        if top in sys.stdlib_module_names:
            return None
        return self._search(name, top, self._search_folders())

    def _search_folders(self) -> tuple[Path, ...]:
        listed = [Path(os.path.abspath(p)) for p in sys.path]
        inside = [p for p in listed if any(p == f or f in p.parents for f in (self.project_root, *self.also))]
        return tuple(dict.fromkeys((*inside, self.project_root, self.project_root / "src", *self.also)))

    def _search(self, name: str, last: str, folders: Iterable[Path]) -> Source | None:
        spaces: list[Path] = []
        for folder in folders:
            for path in (folder / last / "__init__.py", folder / f"{last}.py"):
                if path.is_file():
                    return self._source_at(str(path), name)
            if (folder / last).is_dir():
                spaces.append(folder / last)
        return self._namespace(name, spaces)

    def _namespace(self, name: str, folders: list[Path]) -> Source | None:
        inside = tuple(f for f in folders if self._relative_path(str(f)) is not None)
        if not inside:
            return None
        return Source(name, None, "", is_package=True, folders=inside)

    def _source_of_function(self, code: types.CodeType, scope: dict[str, Any] | None) -> Source | None:
        spec = (scope or {}).get("__spec__")
        name = getattr(spec, "name", None) or (scope or {}).get("__name__") or ""
        if not isinstance(name, str) or name == "__main__":
            name = ""
        if not name:
            relative = self._relative_path(code.co_filename) or ""
            name = (
                relative.removesuffix(".py").removesuffix("/__init__").removeprefix("src/").replace("/", ".")
            )
        return self._source_at(code.co_filename, name)

    # Definitions of the files ----------------------------------------------------------------------------------------

    def _scan(self, source: Source, nodes: Sequence[ast.AST]) -> Scanned:
        return scan(nodes, is_framework=lambda name, attributes: self._is_framework(source, name, attributes))

    def _is_framework(self, source: Source, name: str, attributes: tuple[str, ...]) -> bool:
        """Whether a dotted name means something of anabranch, also by way of a project's module."""
        key = (source.name, name, attributes)
        if key not in self._framework:
            self._framework[key] = False  # for rings of imports
            self._framework[key] = any(
                self._leads_to_framework(source, target, attributes)
                for target in source.imports.get(name, ())
            )
        return self._framework[key]

    def _leads_to_framework(self, source: Source, target: Reference, attributes: tuple[str, ...]) -> bool:
        module = source.absolute(target)
        if module.partition(".")[0] == FRAMEWORK:
            return True
        path = (*target.attributes, *attributes)
        inner = self._module(module)
        if module == source.name and path:
            inner, path = self._module(f"{module}.{path[0]}"), path[1:]
        while inner is not None and path:
            if path[0] in inner.imports:
                return self._is_framework(inner, path[0], path[1:])
            if path[0] in inner.statements:
                return False
            inner = self._module(f"{inner.name}.{path[0]}")
            path = path[1:]
        return False

    def _definition(self, source: Source, name: str, *, members: bool = True) -> _Node:
        """The node of a name that statements of a module's top level make.

        Args:
            source: The module.
            name: The name.
            members: Whether what other modules put into it at run time counts.
        """
        key = (source.name, name, members)
        node = self._nodes.get(key)
        if node is None:
            made = source.statements[name]
            kind = _kind(made, name)
            handed = [
                s
                for s in source.passed.get(name, ())
                if kind != "function" and s not in made and not self._is_framework_call(source, s)
            ]
            statements = sorted((*made, *handed), key=lambda s: s.lineno)
            cuts = [cut(s, name) or s for s in statements]
            own = name if members else None
            node = self._nodes[key] = self._node(source, f"{source.name}.{name}", kind, cuts, statements, own)
        return node

    def _is_framework_call(self, source: Source, statement: ast.stmt) -> bool:
        call = statement.value if isinstance(statement, ast.Expr) else None
        found = chain(call.func) if isinstance(call, ast.Call) else None
        return found is not None and self._is_framework(source, *found)

    def _node(
        self,
        source: Source,
        name: str,
        kind: PartKind,
        nodes: Sequence[ast.AST],
        statements: Sequence[ast.AST],
        own: str | None,
        *,
        skip: frozenset[str] = frozenset(),
        within: tuple[str, ...] = (),
        extra: Callable[[], list[tuple[str, _Node]]] | None = None,
    ) -> _Node:
        scanned = self._scan(source, nodes)
        line = min((first_line(s) if isinstance(s, DEFINITIONS) else s.lineno for s in statements), default=1)  # type: ignore[attr-defined]
        first = next((s for s in statements if isinstance(s, DEFINITIONS)), None)
        part = Part(name, kind, scanned.hash, source.relative, first.lineno if first is not None else line)

        def expand(node: _Node) -> list[tuple[str, _Node]]:
            edges: list[tuple[str, _Node]] = []
            for remark_line, remark in scanned.remarks:
                node.notes.append(
                    f"{name} ({source.relative}:{remark_line}) {remark}, which can't be followed"
                )
            for reference in scanned.references:
                if reference.name in skip:
                    continue
                edges.extend((reference.label, target) for target in self._follow(source, reference, node))
            if own is not None and kind != "class":
                edges.extend(self._members(source, own, statements))
            if extra is not None:
                edges.extend(extra())
            return edges

        return _Node(part, expand, within)

    def _members(
        self, source: Source, name: str, statements: Sequence[ast.AST]
    ) -> Iterator[tuple[str, _Node]]:
        """The functions and classes of the project that were put into a module's object from elsewhere."""
        module = sys.modules.get(source.name)
        value = getattr(module, "__dict__", {}).get(name)
        if value is None or isinstance(value, (str, int, float, bytes, type, types.ModuleType)):
            return
        if (type(value).__module__ or "").partition(".")[0] == FRAMEWORK:
            return
        if isinstance(value, types.FunctionType):
            value = getattr(value, "registry", None)  # functools.singledispatch
            if not isinstance(value, types.MappingProxyType):
                return
        for one in _functions_in(value, 0, []):
            inner = _unwrapped(one)
            code = inner.__code__ if isinstance(inner, types.FunctionType) else None
            if code is not None:
                if os.path.realpath(code.co_filename) == str(
                    source.path and os.path.realpath(source.path)
                ) and any(
                    s.lineno <= code.co_firstlineno <= (s.end_lineno or 0)
                    for s in statements
                    if isinstance(s, ast.stmt)
                ):
                    continue  # it is in the text already
            walk = _Live(self, "")
            if not self._belongs(inner):
                continue
            walk.visit(inner, "member")
            yield from walk.edges

    def _belongs(self, one: object) -> bool:
        if isinstance(one, types.FunctionType):
            return self.is_project_file(one.__code__.co_filename)
        module = sys.modules.get(getattr(one, "__module__", "") or "")
        return self.is_project_file(str(getattr(module, "__file__", "") or ""))

    # Following names -------------------------------------------------------------------------------------------------

    def _follow(self, source: Source, reference: Reference, asker: _Node) -> list[_Node]:
        if reference.name:
            return self._name(source, reference.name, reference.attributes, asker, set())
        module = source.absolute(reference)
        if reference.use == "import":
            return self._imported_only(module, reference.attributes)
        return self._import(module, reference.attributes, asker, set())

    def _imported_only(self, module: str, attributes: tuple[str, ...]) -> list[_Node]:
        """An import that stands in the code without a use: of the project nothing, of others the distribution."""
        return [] if self._module(module) is not None else self._foreign(module, attributes)

    def _import(
        self, module: str, attributes: tuple[str, ...], asker: _Node, seen: set[tuple[str, str]]
    ) -> list[_Node]:
        source = self._module(module)
        if source is None:
            return self._foreign(module, attributes)
        if source.error is not None:
            asker.notes.append(f"{source.relative} can't be parsed ({source.error}), so nothing of it counts")
        if attributes and attributes[0] not in (DYNAMIC, CHANGED):
            return self._name(source, attributes[0], attributes[1:], asker, seen)
        if attributes[:1] == (DYNAMIC,):
            asker.notes.append(
                f"{asker.part.name} asks {source.name} for a name that is only known at run time, "
                f"so all of {source.name} counts"
            )
        return self._everything(source, asker, seen)

    def _everything(self, source: Source, asker: _Node, seen: set[tuple[str, str]]) -> list[_Node]:
        found: list[_Node] = []
        for name in sorted({*source.statements, *source.imports}):
            if not (name.startswith("__") and name.endswith("__")):
                found.extend(self._name(source, name, (), asker, seen, whole=False))
        for star in source.stars:
            inner = self._module(source.absolute(star))
            if inner is not None and (inner.name, DYNAMIC) not in seen:
                found.extend(self._everything(inner, asker, {*seen, (inner.name, DYNAMIC)}))
        return found

    def _name(
        self,
        source: Source,
        name: str,
        attributes: tuple[str, ...],
        asker: _Node,
        seen: set[tuple[str, str]],
        *,
        whole: bool = True,
    ) -> list[_Node]:
        """Where a name of a module's namespace, asked for attributes, leads."""
        if name == DYNAMIC:
            return self._import(source.name, (DYNAMIC,), asker, seen)
        step = (source.name, name)
        if step in seen:
            return []
        seen = {*seen, step}
        found: list[_Node] = []
        for target in source.imports.get(name, ()):
            path = (*target.attributes, *attributes)
            module = source.absolute(target)
            if module == source.name and target.attributes == (
                name,
            ):  # ``from . import name`` of a submodule
                inner = self._module(f"{module}.{name}")
                if inner is not None and (attributes or whole):
                    found.extend(self._import(inner.name, attributes, asker, seen))
            elif path or whole:
                found.extend(self._import(module, path, asker, seen))
            elif self._module(module) is None:
                found.extend(self._foreign(module, ()))
        if name in source.statements and (
            name not in source.imports
            or any(n.part.file for n in found)
            or _binds(source.statements[name], name)
        ):
            found.append(self._definition(source, name, members=attributes[-1:] != (CHANGED,)))
        if found or name in source.imports or name in source.statements:
            return found
        return self._elsewhere(source, name, attributes, asker, seen)

    def _elsewhere(
        self,
        source: Source,
        name: str,
        attributes: tuple[str, ...],
        asker: _Node,
        seen: set[tuple[str, str]],
    ) -> list[_Node]:
        """A name that no statement of the module makes: a submodule, a star import, a builtin, or made at run time."""
        if source.is_package:
            inner = self._module(f"{source.name}.{name}" if source.name else name)
            if inner is not None:
                return self._import(inner.name, attributes, asker, seen)
        unknown: list[_Node] = []
        for star in reversed(source.stars):
            module = source.absolute(star)
            star_source = self._module(module)
            if star_source is None:
                if not hasattr(builtins, name):
                    unknown.extend(self._foreign(module, (name,)))
            elif star_source.exports(name):
                found = self._name(star_source, name, attributes, asker, seen)
                if found:
                    return found
        if unknown:
            return unknown
        if hasattr(builtins, name):
            if name in _BLIND:
                asker.notes.append(
                    f"{asker.part.name} calls {name}(), and what that runs or names can't be followed"
                )
            return []
        if name.startswith("__") and name.endswith("__"):
            return []
        if "__getattr__" in source.statements and asker.part.file != source.relative:
            asker.notes.append(f"{asker.part.name} takes {name} from the __getattr__ of {source.name}")
            return [self._definition(source, "__getattr__")]
        if name in getattr(sys.modules.get(source.name), "__dict__", {}):
            asker.notes.append(
                f"{asker.part.name} uses {source.name}.{name}, which is made at run time and can't be followed"
            )
        return []

    # Other people's code ---------------------------------------------------------------------------------------------

    def _foreign(self, module: str, attributes: tuple[str, ...]) -> list[_Node]:
        top = module.partition(".")[0]
        if not top or top == FRAMEWORK or top in sys.stdlib_module_names:
            return []
        dotted = ".".join((module, *(a for a in attributes if a not in (DYNAMIC, CHANGED))))
        owners = self._distributions.of(dotted)
        if owners:
            return [self._distribution(owner.name, owner.version) for owner in owners]
        return self._stray(module)

    def _distribution(self, name: str, version: str) -> _Node:
        node = self._distribution_nodes.get(name)
        if node is None:
            node = _Node(Part(f"distribution {name}", "distribution", version))
            self._distribution_nodes[name] = node
        return node

    def _stray(self, module: str) -> list[_Node]:
        """A module that is neither the project's nor installed: its file counts as a whole."""
        key = ("stray", module)
        if key not in self._distribution_nodes:
            file = _file_of(module)
            if file is None:
                return []
            try:
                text = Path(file).read_bytes().hex()
            except OSError:
                text = ""
            node = _Node(Part(module, "module", digest("stray", text)))
            node.notes.append(
                f"{module} is neither in the project nor of an installed distribution, so its file counts as a whole"
            )
            self._distribution_nodes[key] = node
        return [self._distribution_nodes[key]]

    # Definitions that the interpreter points to ----------------------------------------------------------------------

    def _place_node(self, source: Source, place: Place, free: frozenset[str]) -> _Node:
        """The node of one definition, found by its place rather than by its name."""
        node = place.node
        name = f"{source.name}.{place.qualname}"
        if not place.within:
            own = getattr(node, "name", None)
            same = source.statements.get(own, []) if own else []
            if own and sum(isinstance(s, DEFINITIONS) for s in same) <= 1 and place.top is node:
                return self._definition(source, own)
        elif (
            isinstance(place.within[0], ast.ClassDef) and not place.repeated and place.top is place.within[0]
        ):
            return self._definition(source, place.within[0].name)  # a method counts with its class
        key = (source.name, node.lineno, node.col_offset)
        found = self._places.get(key)
        if found is None:
            around = [n for n in place.within if isinstance(n, (*FUNCTIONS, ast.Lambda))]
            local = frozenset().union(*(bound_names(n) for n in around)) if around else frozenset()

            def outside() -> list[tuple[str, _Node]]:
                """The function around, if the head of this one uses its locals: they are in no closure."""
                inner = self._scan(source, [node])
                used = {r.name for r in inner.references} & local
                if used - free and place.within:
                    top = place.top
                    if isinstance(top, DEFINITIONS):
                        return [("around", self._definition(source, top.name))]
                return []

            kind: PartKind = "class" if isinstance(node, ast.ClassDef) else "function"
            within = tuple(
                ".".join((source.name, *(getattr(n, "name", "<lambda>") for n in place.within[: i + 1])))
                for i in range(len(place.within))
            )
            found = self._places[key] = self._node(
                source, name, kind, [node], [node], None, skip=local, within=within, extra=outside
            )
        return found

    def _find_place(self, source: Source, code: types.CodeType) -> Place | None:
        if code.co_name == "<lambda>":
            return _matching_lambda(source, code)
        candidates = [
            p
            for p in source.places.get(code.co_firstlineno, ())
            if isinstance(p.node, FUNCTIONS) and p.node.name == code.co_name
        ]
        return candidates[0] if candidates else None


class _Live:
    """Walks objects of the interpreter to where their code stands in the files."""

    def __init__(self, reader: CodeReader, name: str) -> None:
        self.reader = reader
        self.name = name
        self.edges: list[tuple[str, _Node]] = []
        self.notes: list[str] = []
        self.seen: set[int] = set()
        self.kept: list[object] = []

    def add(self, label: str, nodes: Iterable[_Node]) -> None:
        self.edges.extend((label, node) for node in nodes)

    def visit(self, one: Any, label: str) -> None:
        """Adds the code of an object; of one seen before nothing, for functions refer to themselves."""
        if id(one) in self.seen:
            self.add(f"{label} again", [])
            return
        self.seen.add(id(one))
        self.kept.append(one)  # an id is only an object's as long as it lives
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
            asker = _Node(Part(self.name or one.__name__, "module", ""))
            self.add(label, self.reader._import(one.__name__, (), asker, set()))  # noqa: SLF001 - the reader's other half
        elif _wraps(one):
            self.visit(one.__wrapped__, f"{label}.wrapped")  # functools.lru_cache and its like
            self.foreign_type(type(one), label)
        elif isinstance(one, _BUILTINS):
            self.builtin(one, label)
        else:
            self.seen.discard(id(one))
            self.value(one, label, self.name or type(one).__name__)

    # Functions -------------------------------------------------------------------------------------------------------

    def function(self, function: types.FunctionType, label: str) -> None:
        reader = self.reader
        code = function.__code__
        source = reader._source_of_function(code, function.__globals__)  # noqa: SLF001 - the reader's other half
        wrapped = getattr(function, "__wrapped__", None)
        if source is None:
            self.without_source(function, label)
        else:
            place = reader._find_place(source, code)  # noqa: SLF001 - the reader's other half
            if place is None:
                self.notes.append(
                    f"{_name_of(function) or self.name} is not where {source.relative} had it when it was imported, "
                    f"so its bytecode counts"
                )
                self.bytecode(function, label)
            else:
                self.add(label, [reader._place_node(source, place, frozenset(code.co_freevars))])  # noqa: SLF001
                self.closure(function, label, f"{source.name}.{place.qualname}", place)
                if place.repeated:
                    self.defaults(function, label, f"{source.name}.{place.qualname}", place)
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
        nodes = self.reader._foreign(module, ()) if module else []  # noqa: SLF001 - the reader's other half
        installed = os.path.exists(function.__code__.co_filename)
        if module.partition(".")[0] == FRAMEWORK:
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
        self.add(label, [_Node(part)])
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
        nodes = self.reader._foreign(module, ())  # noqa: SLF001 - the reader's other half
        name = f"{module}.{one.__name__}" if module else one.__name__
        owner = " and ".join(f"{n.part.name} {n.part.hash}" for n in nodes) or "Python itself"
        self.notes.append(f"{name} is written in C and can't be read: it changes with {owner}")
        self.add(label, [_Node(Part(name, "opaque", digest("builtin", name))), *nodes])

    # Classes and values ----------------------------------------------------------------------------------------------

    def class_(self, one: type, label: str) -> None:
        reader = self.reader
        module = getattr(one, "__module__", "") or ""
        source = reader._module(module)  # noqa: SLF001 - the reader's other half
        if module == "__main__" and source is None:
            file = getattr(sys.modules.get("__main__"), "__file__", None)
            source = reader._source_at(str(file), "__main__") if file else None  # noqa: SLF001
        if source is None:
            self.foreign_type(one, label)
            return
        path = one.__qualname__.replace(".<locals>", "")
        places = source.classes.get(path, [])
        if not places:
            self.made_class(one, label)
            return
        for place in places:
            if place.within and isinstance(place.within[0], FUNCTIONS):
                self.add(label, [reader._place_node(source, place, frozenset())])  # noqa: SLF001
            else:
                top = place.within[0].name if place.within else place.node.name  # type: ignore[union-attr]
                self.add(label, [reader._definition(source, top)])  # noqa: SLF001 - the reader's other half
        if "<locals>" in one.__qualname__:
            for attribute, member in sorted(vars(one).items()):
                inner = _unwrapped(member)
                if isinstance(inner, types.FunctionType) and inner.__closure__:
                    self.closure(inner, f"{label}.{attribute}", f"{module}.{path}.{attribute}", None)

    def made_class(self, one: type, label: str) -> None:
        name = f"{one.__module__}.{one.__qualname__}"
        self.notes.append(f"the class {name} was made at run time, so its bases and methods count")
        self.add(label, [_Node(Part(name, "opaque", digest("class", one.__qualname__, *sorted(vars(one)))))])
        for base in one.__bases__:
            self.visit(base, f"{label}.base")
        for attribute, member in sorted(vars(one).items()):
            inner = _unwrapped(member)
            if isinstance(inner, types.FunctionType) and self.reader.is_project_file(
                inner.__code__.co_filename
            ):
                self.visit(inner, f"{label}.{attribute}")

    def foreign_type(self, one: type, label: str) -> None:
        self.add(label, self.reader._foreign(one.__module__ or "", ()))  # noqa: SLF001 - the reader's other half

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
        self.add(label, [_Node(Part(name, "constant", digest("value", text)))])

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
            return "<again>"
        self.seen.add(id(one))
        self.kept.append(one)
        if module.partition(".")[0] == FRAMEWORK or isinstance(one, logging.Logger):
            return f"{module}.{kind.__qualname__}"
        self.class_(kind, label)
        if isinstance(one, tuple | list | set | frozenset | dict):
            plain: Any = dict(one) if isinstance(one, dict) else list(one)
            return f"{kind.__qualname__} {value_text(plain, other)}"
        if self.reader._module(module) is not None:  # noqa: SLF001 - the reader's other half
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


def _summary(roots: list[tuple[str, _Node]], notes: list[str]) -> CodeFingerprint:
    """Walks from the roots in the order of the labels, which the texts give, and hashes what it meets.

    The hash knows which reference of which part leads to which part, by number; names of modules are not in it.
    """
    numbers: dict[int, int] = {}
    order: list[_Node] = []
    pieces: list[str] = ["ab1"]

    def number(node: _Node) -> str:
        found = numbers.get(id(node))
        if found is None:
            found = numbers[id(node)] = len(order)
            order.append(node)
        return str(found)

    for label, node in roots:
        pieces += (label, number(node))
    position = 0
    while position < len(order):
        node = order[position]
        position += 1
        pieces += ("part", node.part.kind, node.part.hash)
        if node.part.kind == "distribution":
            pieces.append(node.part.name)
        for label, target in node.reach():
            pieces += (label, number(target))
    names = {node.part.name for node in order}
    found: dict[str, Part] = {}
    for node in order:
        if names.isdisjoint(node.within):  # else it stands in the text of one that is listed
            _store(found, node.part)
    said = dict.fromkeys((*notes, *(note for node in order for note in node.notes)))
    return CodeFingerprint(
        digest(*pieces), tuple(found[name] for name in sorted(found)), tuple(sorted(f"{n}." for n in said))
    )


def _store(found: dict[str, Part], part: Part) -> None:
    name, count = part.name, 1
    while name in found and found[name] != part and found[name].hash != part.hash:
        count += 1
        name = f"{part.name}#{count}"
    if name not in found:
        found[name] = part if name == part.name else Part(name, part.kind, part.hash, part.file, part.line)


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
        if isinstance(one, (staticmethod, classmethod)) or isinstance(one, types.MethodType):
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


def _binds(statements: Iterable[ast.stmt], name: str) -> bool:
    """Whether the statements bind the name itself, rather than change what it holds."""
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load):
                return True
            if isinstance(node, DEFINITIONS) and node.name == name:
                return True
    return False


def _kind(statements: Iterable[ast.stmt], name: str) -> PartKind:
    found: PartKind = "constant"
    for statement in statements:
        for node in (statement, *(inner for block in blocks(statement) for inner in block)):
            if isinstance(node, DEFINITIONS) and node.name == name:
                found = "class" if isinstance(node, ast.ClassDef) else "function"
    return found


def _around(place: Place) -> set[str]:
    """The names that a definition takes from functions and loops around it."""
    names: set[str] = set()
    for node in place.within:
        if isinstance(node, (*FUNCTIONS, ast.Lambda)):
            names |= bound_names(node)
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
    best: Place | None = None
    for place in candidates:
        body = place.node.body
        assert isinstance(body, ast.expr)
        start = (body.lineno, body.col_offset)
        end = (body.end_lineno or 0, body.end_col_offset or 0)
        if spans and all((p[0], p[2]) >= start and (p[1], p[3]) <= end for p in spans):  # type: ignore[operator]
            if any(((p[0], p[2]), (p[1], p[3])) == (start, end) for p in spans):
                return place
            best = best or place
    return best


def _bytecode(code: types.CodeType) -> str:
    """The hash of what a code object does; neither its file nor its lines are in it."""
    constants: list[str] = []
    for value in code.co_consts:
        constants.append(_bytecode(value) if isinstance(value, types.CodeType) else value_text(value, repr))
    return digest(
        code.co_code.hex(),
        *constants,
        "names",
        *code.co_names,
        "variables",
        *code.co_varnames,
        "free",
        *code.co_freevars,
        f"{code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount} {code.co_flags}",
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


def _file_of(module: str) -> str | None:
    loaded = sys.modules.get(module)
    if loaded is not None:
        return getattr(loaded, "__file__", None)
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError, AttributeError):
        return None
    return spec.origin if spec is not None and spec.has_location else None
