"""Follows names from one definition of a project to the next, and out to distributions.

Static: it reads what the files say. Of the interpreter's state it asks only which functions other modules have put into
a constant, and whether a name that no statement makes exists at all.
"""

from __future__ import annotations

import builtins
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from anabranch.pipeline.canonical import CHANGED, DYNAMIC, Reference, digest
from anabranch.pipeline.distributions import Distributions
from anabranch.pipeline.files import ProjectFiles
from anabranch.pipeline.parts import Node, Part, PartKind
from anabranch.pipeline.sources import FRAMEWORKS, Source, Unit

_BLIND = frozenset({"exec", "eval", "compile", "globals"})
_KINDS: dict[str, PartKind] = {"function": "function", "class": "class", "constant": "constant"}

Members = Callable[[Source, str, Unit], Iterator[tuple[str, Node]]]


class Reach:
    """The graph of a project's definitions, made as far as it is walked.

    Args:
        files: The project's files.
        members: The functions and classes that were put into a module's object from elsewhere, labelled.
    """

    def __init__(self, files: ProjectFiles, members: Members) -> None:
        self.files = files
        self._members = members
        self._nodes: dict[tuple[str, str, bool], Node] = {}
        self._distributions = Distributions()
        self._foreign_nodes: dict[tuple[str, str], Node] = {}
        self._framework: dict[tuple[str, str, tuple[str, ...]], bool] = {}

    # Definitions -----------------------------------------------------------------------------------------------------

    def definition(self, source: Source, name: str, *, members: bool = True) -> Node:
        """The node of a name that statements of a module's top level make.

        Args:
            source: The module.
            name: The name.
            members: Whether what other modules put into it at run time counts.
        """
        key = (source.name, name, members)
        node = self._nodes.get(key)
        if node is None:
            unit = source.units[name]
            decorators = [d for d in unit.decorators if not self.is_framework(source, d.name, d.attributes)]
            part = Part(
                f"{source.name}.{name}",
                _KINDS[unit.kind],
                digest(unit.scanned.hash, *(d.scanned.hash for d in decorators)),
                source.relative,
                unit.line,
            )
            read = [unit.scanned, *(d.scanned for d in decorators)]

            def expand(node: Node) -> list[tuple[str, Node]]:
                edges: list[tuple[str, Node]] = []
                for scanned in read:
                    edges += self.edges(source, scanned.references, scanned.remarks, node)
                if members and unit.kind != "class":
                    edges += self._members(source, name, unit)
                return edges

            node = self._nodes[key] = Node(part, expand)
        return node

    def edges(
        self,
        source: Source,
        references: Sequence[Reference],
        remarks: Sequence[tuple[int, str]],
        asker: Node,
    ) -> list[tuple[str, Node]]:
        """Where the names lead that a piece of a module's code uses; what can't be followed is noted at the asker."""
        for line, remark in remarks:
            asker.notes.append(
                f"{asker.part.name} ({source.relative}:{line}) {remark}, which can't be followed"
            )
        return [(r.label, target) for r in references for target in self._follow(source, r, asker)]

    def is_framework(self, source: Source, name: str, attributes: tuple[str, ...]) -> bool:
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
        if module.partition(".")[0] in FRAMEWORKS:
            return True
        path = (*target.attributes, *attributes)
        inner = self.files.module(module)
        if module == source.name and path:
            inner, path = self.files.module(f"{module}.{path[0]}"), path[1:]
        while inner is not None and path:
            if path[0] in inner.imports:
                return self.is_framework(inner, path[0], path[1:])
            if path[0] in inner.units:
                return False
            inner = self.files.module(f"{inner.name}.{path[0]}")
            path = path[1:]
        return False

    # Following names -------------------------------------------------------------------------------------------------

    def _follow(self, source: Source, reference: Reference, asker: Node) -> list[Node]:
        if reference.name:
            return self._name(source, reference.name, reference.attributes, asker, frozenset())
        module = source.absolute(reference)
        if reference.use == "import":
            return self._imported_only(module, reference.attributes)
        return self.imported(module, reference.attributes, asker)

    def _imported_only(self, module: str, attributes: tuple[str, ...]) -> list[Node]:
        """An import that stands in the code without a use: of the project nothing, of others the distribution."""
        return [] if self.files.module(module) is not None else self.foreign(module, attributes)

    def imported(
        self,
        module: str,
        attributes: tuple[str, ...],
        asker: Node,
        seen: frozenset[tuple[str, str]] = frozenset(),
    ) -> list[Node]:
        source = self.files.module(module)
        if source is None:
            return self.foreign(module, attributes)
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

    def _everything(self, source: Source, asker: Node, seen: frozenset[tuple[str, str]]) -> list[Node]:
        found: list[Node] = []
        for name in sorted({*source.units, *source.imports}):
            if not (name.startswith("__") and name.endswith("__")):
                found.extend(self._name(source, name, (), asker, seen, whole=False))
        for star in source.stars:
            inner = self.files.module(source.absolute(star))
            if inner is not None and (inner.name, DYNAMIC) not in seen:
                found.extend(self._everything(inner, asker, seen | {(inner.name, DYNAMIC)}))
        return found

    def _name(
        self,
        source: Source,
        name: str,
        attributes: tuple[str, ...],
        asker: Node,
        seen: frozenset[tuple[str, str]],
        *,
        whole: bool = True,
    ) -> list[Node]:
        """Where a name of a module's namespace, asked for attributes, leads."""
        if name == DYNAMIC:
            return self.imported(source.name, (DYNAMIC,), asker, seen)
        step = (source.name, name)
        if step in seen:
            return []
        seen = seen | {step}
        found: list[Node] = []
        for target in source.imports.get(name, ()):
            path = (*target.attributes, *attributes)
            module = source.absolute(target)
            if module == source.name and target.attributes == (
                name,
            ):  # ``from . import name`` of a submodule
                inner = self.files.module(f"{module}.{name}")
                if inner is not None and (attributes or whole):
                    found.extend(self.imported(inner.name, attributes, asker, seen))
            elif path or whole:
                found.extend(self.imported(module, path, asker, seen))
            elif self.files.module(module) is None:
                found.extend(self.foreign(module, ()))
        if name in source.units and (
            name not in source.imports or any(n.part.file for n in found) or source.units[name].binds
        ):
            found.append(self.definition(source, name, members=attributes[-1:] != (CHANGED,)))
        if found or name in source.imports or name in source.units:
            return found
        return self._elsewhere(source, name, attributes, asker, seen)

    def _elsewhere(
        self,
        source: Source,
        name: str,
        attributes: tuple[str, ...],
        asker: Node,
        seen: frozenset[tuple[str, str]],
    ) -> list[Node]:
        """A name that no statement of the module makes: a submodule, a star import, a builtin, or made at run time."""
        if source.is_package:
            inner = self.files.module(f"{source.name}.{name}" if source.name else name)
            if inner is not None:
                return self.imported(inner.name, attributes, asker, seen)
            if f"{source.name}.{name}" in sys.modules:  # a submodule without source, such as a compiled one
                return self.foreign(f"{source.name}.{name}", ())
        unknown: list[Node] = []
        for star in reversed(source.stars):
            module = source.absolute(star)
            star_source = self.files.module(module)
            if star_source is None:
                if not hasattr(builtins, name):
                    unknown.extend(self.foreign(module, (name,)))
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
        if "__getattr__" in source.units and asker.part.file != source.relative:
            asker.notes.append(f"{asker.part.name} takes {name} from the __getattr__ of {source.name}")
            return [self.definition(source, "__getattr__")]
        if name in getattr(sys.modules.get(source.name), "__dict__", {}):
            asker.notes.append(
                f"{asker.part.name} uses {source.name}.{name}, which is made at run time and can't be followed"
            )
        return []

    # Other people's code ---------------------------------------------------------------------------------------------

    def foreign(self, module: str, attributes: tuple[str, ...]) -> list[Node]:
        top = module.partition(".")[0]
        if not top or top in FRAMEWORKS or top in sys.stdlib_module_names:
            return []
        dotted = ".".join((module, *(a for a in attributes if a not in (DYNAMIC, CHANGED))))
        owners = self._distributions.of(dotted)
        if owners:
            return [self._distribution(owner.name, owner.version) for owner in owners]
        return self._stray(module)

    def _distribution(self, name: str, version: str) -> Node:
        node = self._foreign_nodes.get(("distribution", name))
        if node is None:
            node = Node(Part(f"distribution {name}", "distribution", version))
            self._foreign_nodes["distribution", name] = node
        return node

    def _stray(self, module: str) -> list[Node]:
        """A module that is neither the project's nor installed: its file counts as a whole."""
        key = ("stray", module)
        if key not in self._foreign_nodes:
            file = _file_of(module)
            if file is None:
                return []
            try:
                text = Path(file).read_bytes().hex()
            except OSError:
                text = ""
            node = Node(Part(module, "module", digest("stray", text)))
            node.notes.append(
                f"{module} is no Python source of the project and of no installed distribution, "
                "so its file counts as a whole"
            )
            self._foreign_nodes[key] = node
        return [self._foreign_nodes[key]]


def _file_of(module: str) -> str | None:
    loaded = sys.modules.get(module)
    if loaded is not None:
        return getattr(loaded, "__file__", None)
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError, AttributeError):
        return None
    return spec.origin if spec is not None and spec.has_location else None
