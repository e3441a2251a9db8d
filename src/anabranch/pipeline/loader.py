"""Imports a project's definitions, and knows exactly which source text was executed.

Project modules are compiled from their source each time, never from a bytecode file: Python trusts a ``.pyc`` by the
source's size and its time to the second, and an edit within that second would run old code under a new fingerprint.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from anabranch.dataclass import dataclass
from anabranch.errors import AnabranchError, CodeChangedError, LoadError
from anabranch.names import did_you_mean
from anabranch.pipeline.definitions import Definitions

if TYPE_CHECKING:
    from anabranch.pipeline.translators import Asked

_SKIPPED = {".venv", "venv", "site-packages", "node_modules", ".anabranch", ".tox", ".nox"}
_NATIVE = re.compile(rb"^\s*(?:import|from)\s+anabranch\b(?!\.adapters)", re.MULTILINE)
_LOCK = threading.RLock()


class _Lent(str):
    """A folder that a load has put onto `sys.path`; one that stood there before is the user's."""

    __slots__ = ()


@dataclass(frozen=True)
class Loaded:
    """What came of an import: the definitions, and each executed project file (relative path → SHA-256)."""

    definitions: Definitions
    files: Mapping[str, str]


class _FreshLoader(importlib.machinery.SourceFileLoader):
    """Compiles from source, always, and notes what it compiled."""

    def __init__(self, fullname: str, path: str, finder: ProjectFinder) -> None:
        super().__init__(fullname, path)
        self._finder = finder

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = self.get_data(path)
        self._finder.note(path, source)
        code: CodeType = self.source_to_code(source, path)
        return code


_LIBRARY = f"{os.path.dirname(os.__file__)}{os.sep}"  # noqa: PTH120 - a text to compare with
_INSTALLED = re.compile(rf"(?:{re.escape(_LIBRARY)}|.*[/\\\\](?:site|dist)-packages\b)")


def _resolved(folder: str) -> Path:
    """The real path of a folder of modules; that of an installed package stays what it is while a process lives."""
    return _resolved_once(folder) if _INSTALLED.match(folder) else Path(folder).resolve()


@cache
def _resolved_once(folder: str) -> Path:
    return Path(folder).resolve()


class ProjectFinder:
    """A meta path finder that serves the modules below one folder, fresh."""

    def __init__(self, root: Path, expected: Mapping[str, str] | None = None) -> None:
        self.root = root.resolve()
        self.files: dict[str, str] = {}
        self.expected = expected
        self._folders: dict[str, bool] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Part of the import protocol."""
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if (
            spec is None
            or spec.origin is None
            or type(spec.loader) is not importlib.machinery.SourceFileLoader
        ):
            return None
        if not self.owns(spec.origin):
            return None
        loader = _FreshLoader(fullname, spec.origin, self)
        return importlib.util.spec_from_file_location(
            fullname, spec.origin, loader=loader, submodule_search_locations=spec.submodule_search_locations
        )

    def owns(self, file: str) -> bool:
        """Whether a file is the project's own."""
        folder, name = os.path.split(file)
        if not name or os.path.islink(file):  # noqa: PTH114 - asked of thousands of modules
            return self._is_own(Path(file).resolve())
        if folder not in self._folders:
            self._folders[folder] = self._is_own(_resolved(folder))
        return self._folders[folder] and name not in _SKIPPED

    def _is_own(self, path: Path) -> bool:
        try:
            relative = path.relative_to(self.root)
        except ValueError:
            return False
        return _SKIPPED.isdisjoint(relative.parts)

    def note(self, file: str, source: bytes) -> None:
        """Records what is about to be executed. Raises CodeChangedError if something else was planned."""
        relative = Path(file).resolve().relative_to(self.root).as_posix()
        digest = hashlib.sha256(source).hexdigest()
        if self.expected is not None and self.expected.get(relative, digest) != digest:
            raise CodeChangedError(
                f"{relative} was edited after the plan was made", hint="run the command again"
            )
        self.files[relative] = digest


def load_definitions(
    target: str,
    *,
    root: Path,
    source: Sequence[Path],
    expected: Mapping[str, str] | None = None,
    ask: Callable[[], Asked] | None = None,
) -> Loaded:
    """Imports ``package.module:attribute`` anew.

    Args:
        target: What ``definitions`` in anabranch.toml says. Without an attribute: the module's only `Definitions`.
        root: The project's folder.
        source: Folders to import from, first to last.
        expected: Relative path → SHA-256 of what was planned; a difference raises CodeChangedError.
        ask: For a project that may be written for another program: what its translator is asked.

    Raises:
        LoadError: the module is not found, fails, or holds no definitions; names the user's own file and line.
    """
    root = root.resolve()
    module_name, _, attribute = target.partition(":")
    asked = None
    if ask is not None and not is_native(module_name, source):
        from anabranch.pipeline.translators import translate

        asked = ask()
        if (made := translate(asked)) is not None:
            return Loaded(made.definitions, made.files)
    module, files = import_project(target, root=root, source=source, expected=expected)
    strange = _strange(module, attribute)
    if strange and ask is not None:
        from anabranch.pipeline.translators import translate

        for value in strange:
            if (made := translate(asked or ask(), value)) is not None:
                return Loaded(made.definitions, made.files)
    return Loaded(_find(module, attribute, target), files)


def import_project(
    target: str, *, root: Path, source: Sequence[Path], expected: Mapping[str, str] | None = None
) -> tuple[ModuleType, Mapping[str, str]]:
    """Imports the module of a target anew: the module, and each executed project file. Raises LoadError, CodeChangedError."""
    with _LOCK:
        finder = ProjectFinder(root, expected)
        _forget(finder, target.partition(":")[0].partition(".")[0], source)
        _install(finder, source)
        return _import(target.partition(":")[0], target, root, source), finder.files


def expect(files: Mapping[str, str]) -> None:
    """From now on what the last project imports late has to be what was planned: relative path → SHA-256."""
    for finder in sys.meta_path:
        if isinstance(finder, ProjectFinder):
            finder.expected = files


def is_native(module: str, source: Sequence[Path]) -> bool:
    """Whether a module's own text imports anabranch, so that nobody needs to be asked what it is."""
    for folder in source:
        place = folder.joinpath(*module.split("."))
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            with contextlib.suppress(OSError):
                return _NATIVE.search(file.read_bytes()) is not None
    return False


def _strange(module: ModuleType, attribute: str) -> list[Any]:
    """What a module holds instead of definitions of ours: candidates for a translator."""
    if attribute:
        value = getattr(module, attribute, None)
        return [] if value is None or isinstance(value, Definitions) else [value]
    values = list(vars(module).values())
    return [] if any(isinstance(v, Definitions) for v in values) else values


def _install(finder: ProjectFinder, source: Sequence[Path]) -> None:
    sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, ProjectFinder)]
    sys.meta_path.insert(0, finder)
    folders = [str(folder) for folder in source]
    # What another project's load added would lend this one its modules; what stood there before any load is the user's.
    users = [p for p in sys.path if not isinstance(p, _Lent)]
    sys.path[:] = [folder if folder in users else _Lent(folder) for folder in folders]
    sys.path += [p for p in users if p not in folders]
    importlib.invalidate_caches()


def _forget(finder: ProjectFinder, package: str, source: Sequence[Path]) -> None:
    """Takes modules of this project, and those another project left under a finder of ours, out of `sys.modules`.

    A package of the same name from elsewhere that the process has imported goes, too: a fresh process would not see it.
    """
    finders = [finder, *(f for f in sys.meta_path if isinstance(f, ProjectFinder))]
    gone: dict[str, ModuleType] = {}
    ours_to_be = any((folder / package).is_dir() or (folder / f"{package}.py").is_file() for folder in source)
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        origin = getattr(spec, "origin", None)
        if name == "__main__" or name.partition(".")[0] == "anabranch":
            continue
        ours = isinstance(getattr(spec, "loader", None), _FreshLoader)
        own = isinstance(origin, str) and origin.endswith(".py") and finder.owns(origin)
        hides = ours_to_be and name.partition(".")[0] == package
        if ours or own or hides or _is_stale_namespace(spec, finders):
            gone[name] = sys.modules.pop(name)
    for name, module in gone.items():
        # ``from package import module`` takes the attribute of a package that stays.
        above, _, last = name.rpartition(".")
        if getattr(sys.modules.get(above), last, None) is module:
            delattr(sys.modules[above], last)


def _is_stale_namespace(spec: Any, finders: Sequence[ProjectFinder]) -> bool:
    """Namespace packages keep their old search path, which may be another project's."""
    if spec is None or spec.origin is not None:
        return False
    folders = [str(folder) for folder in spec.submodule_search_locations or ()]
    return bool(folders) and all(
        any(finder.owns(folder) for finder in finders) or not Path(folder).exists() for folder in folders
    )


def _import(name: str, target: str, root: Path, source: Sequence[Path]) -> ModuleType:
    try:
        with _stdout_aside():
            return importlib.import_module(name)
    except AnabranchError as error:
        if error.place is None:
            error.place = user_error(error, target, root).place
        elif Path(error.place.rpartition(":")[0]).is_absolute():
            error.place = _shorten(error.place, root)
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            looked = ", ".join(str(folder) for folder in source)
            found = [p.stem for folder in source for p in folder.glob("*") if p.suffix == ".py" or p.is_dir()]
            raise LoadError(
                f"the definitions module {name!r} was not found",
                place="anabranch.toml project.definitions",
                hint=did_you_mean(
                    name.partition(".")[0], [f for f in found if f != name], f"looked in: {looked}"
                ),
            ) from None
        raise user_error(error, target, root) from error
    except (Exception, SystemExit) as error:
        raise user_error(error, target, root) from error


def user_error(error: BaseException, target: str, root: Path) -> LoadError:
    place, frames = None, ""
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    own = [f for f in traceback.extract_tb(error.__traceback__) if _below(f.filename, root)]
    if own and place is None:
        place = f"{own[-1].filename}:{own[-1].lineno}"
    if own:
        frames = "".join(traceback.format_list(own))
    return LoadError(
        f"importing {target} failed: {type(error).__name__}: {error}",
        place=_shorten(place, root) if place else None,
        hint="install it into this environment"
        if isinstance(error, ModuleNotFoundError)
        else "mend the line and run the command again",
        traceback=frames,
    )


def _below(file: str, root: Path) -> bool:
    try:
        return _SKIPPED.isdisjoint(Path(file).resolve().relative_to(root).parts)
    except ValueError:
        return False


def _shorten(place: str, root: Path) -> str:
    file, _, line = place.rpartition(":")
    try:
        return f"{Path(file).resolve().relative_to(root).as_posix()}:{line}"
    except ValueError:
        return place


def _find(module: ModuleType, attribute: str, target: str) -> Definitions:
    if attribute:
        value: Any = getattr(module, attribute, None)
        if isinstance(value, Definitions):
            return value
        names = [n for n, v in vars(module).items() if isinstance(v, Definitions)]
        what = "is missing" if value is None else f"is a {type(value).__name__}, not an ab.Definitions"
        raise LoadError(
            f"{attribute!r} in the module {module.__name__} {what}",
            place="anabranch.toml project.definitions",
            hint=did_you_mean(
                attribute,
                names,
                f"write {module.__name__}:{names[0]}"
                if names
                else f"add: {attribute} = ab.Definitions(assets=[…])",
            ),
        )
    found = [v for v in vars(module).values() if isinstance(v, Definitions)]
    if len(found) != 1:
        raise LoadError(
            f"the module {module.__name__} holds {len(found)} ab.Definitions",
            place="anabranch.toml project.definitions",
            hint=f"name one: {target}:defs",
        )
    return found[0]


@contextlib.contextmanager
def _stdout_aside() -> Iterator[None]:
    """What user code prints while it is imported goes to stderr: stdout belongs to results."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
