"""What a stored result was computed from: sources, data files, versions. Together they give it its key.

A result that is kept (sessions of a sweep, the cost of a core, simulations of an inference, a compiled
simulation) is valid as long as what computes it is what computed it. :func:`provenance` finds out what that
is, without importing anything:

- **Sources**: the module of the computation and all modules of this package that it imports, and that these
  import, inside functions too. An ``import`` under ``if TYPE_CHECKING`` computes nothing. A name that is
  taken from a package (``from .cfpc import CfpcConfig``) counts as the module from which the package has it,
  by its ``__init__.py`` or the ``__init__.pyi`` beside it. Of a package around a module the ``__init__.py``
  counts, but not what that imports: names for others.
- **Data files**: those whose names stand in a counted source, wherever they lie in the same top folder
  (``gateware/``, ``sim/``, ...). All files of the folder would be simpler, but then a table for the
  documentation (``boards/resources.json``) would put an end to each synthesis cost.
- **Versions**: of Python, of the distributions in :data:`DISTRIBUTIONS` that a counted source imports, and of
  the programs that the caller names.

Content counts, not the time of a file: the same sources in a wheel and in a checkout are the same. A comment
is content too. Files are read once a process: what a process has loaded does not change by an edit.
What is imported under a computed name is not seen.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = [
    "DISTRIBUTIONS",
    "ROOMS",
    "Provenance",
    "ProvenanceError",
    "Start",
    "module_name",
    "provenance",
    "sources",
    "whole_package",
]

Start = str | ModuleType | Callable[..., Any]
"""Where a computation begins: a module, its name, or a function of it."""

DISTRIBUTIONS = {
    "amaranth": "amaranth",
    "amaranth_boards": "amaranth-boards",
    "cocotb": "cocotb",
    "cocotb_tools": "cocotb",
    "numba": "numba",
    "numpy": "numpy",
    "sbi": "sbi",
    "scipy": "scipy",
    "systemrdl": "systemrdl-compiler",
    "torch": "torch",
    "zuko": "zuko",
}
"""By the name that is imported: those that decide numbers or hardware. Others show or store them."""
ROOMS = ("golden_model", "gateware", "sim", "boards", "tools", "host")
"""The top folders of this package."""
_PACKAGE = __name__.partition(".")[0]
_NAMED = 3
"""Sources that a message names; how many more there are is said."""


class ProvenanceError(RuntimeError):
    """A source whose imports cannot be followed: a mistake in this package, not of its user."""


@dataclass(frozen=True)
class Provenance:
    """What a result was computed from.

    Attributes
    ----------
    sources : mapping of str to str
        Digest of each counted file, by its path in the package, such as ``gateware/chip.py``.
    versions : mapping of str to str
        Of Python, distributions and programs; empty for what is not installed.
    """

    sources: Mapping[str, str]
    versions: Mapping[str, str]

    def key(self, configuration: str | bytes) -> str:
        """Of the result for this configuration: 64 hexadecimal digits.

        Parameters
        ----------
        configuration : str or bytes
            All else that the result depends on: its TOML or its digest, seeds, texts to compile.
        """
        computed_from = json.dumps([self.sources, self.versions], sort_keys=True).encode()
        what = configuration.encode() if isinstance(configuration, str) else configuration
        return hashlib.sha256(b"%d:%b%b" % (len(computed_from), computed_from, what)).hexdigest()

    def facts(self) -> dict[str, Any]:
        """For a JSON file; ``Provenance(**facts)`` is the same again."""
        return asdict(self)

    def here(self) -> Provenance:
        """The same sources and distributions as this process has them; empty for what it has not.

        Versions of programs are the caller's to tell: here they are empty.
        """
        found = {label: _digest(path) if (path := _path(label)) else "" for label in self.sources}
        return Provenance(found, {name: _version(name) for name in self.versions})

    def difference(self, other: Provenance) -> str:
        """What this has instead of the other's, in words; empty if they are equal.

        Such as ``another golden_model/microcircuit.py; numpy 2.3.1 instead of 2.4.0``.
        """
        labels = sorted({**self.sources, **other.sources})
        changed = [label for label in labels if self.sources.get(label) != other.sources.get(label)]
        parts = []
        if changed:
            more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
            parts.append(f"another {', '.join(changed[:_NAMED])}{more}")
        for name in sorted({**self.versions, **other.versions}):
            mine, theirs = (each.versions.get(name) or "none" for each in (self, other))
            if mine != theirs:
                parts.append(f"{name} {mine} instead of {theirs}")
        return "; ".join(parts)


def provenance(*starts: Start, tools: Mapping[str, str] | None = None) -> Provenance:
    """What a computation depends on besides its configuration.

    Parameters
    ----------
    *starts : str, module or function
        Where it begins; a ``partial`` is its function.
    tools : mapping of str to str, optional
        Versions of the programs that it runs, by name.

    Raises
    ------
    ProvenanceError
        If a source takes a name from a package that does not say which module it is of, or imports a module
        of the package that is not there.
    """
    found, versions = _computed(tuple(module_name(start) for start in starts))
    return Provenance(found, versions | dict(tools or {}))


def sources(*starts: Start) -> frozenset[Path]:
    """The files that a computation depends on; parameters and errors as for :func:`provenance`."""
    counted, data, _ = _closure(tuple(module_name(start) for start in starts))
    return frozenset(counted.values()) | frozenset(data.values())


def module_name(start: Start) -> str:
    """The full name of the module in which a computation begins."""
    while isinstance(start, partial):
        start = start.func
    if isinstance(start, str):
        return start
    return str(start.__name__ if isinstance(start, ModuleType) else start.__module__)


@cache
def whole_package() -> Provenance:
    """All sources and data files of this package: for a computation that is none of its own."""
    files: dict[str, Path] = {}
    for room in ROOMS:
        folder = _folder(f"{_PACKAGE}.{room}")
        if folder is not None:
            files |= {f"{room}/{path.relative_to(folder).as_posix()}": path for path in _files(folder)}
    names = sorted(set(DISTRIBUTIONS.values()))
    return Provenance({label: _digest(path) for label, path in files.items()}, _versions(names))


# --- from starts to files -----------------------------------------------------------------------


Taken = tuple[str, str | None]
"""A module, and the name taken from it; None for the whole of it."""


@dataclass(frozen=True)
class _Module:
    """What a source says about others.

    Attributes
    ----------
    name : str
    path : Path or None
        None for a namespace package, which has no source.
    is_package : bool
    imports : tuple of (str, str or None)
        What it takes when it runs.
    bound : mapping of str to ((str, str or None) or None)
        Of a package: from where each of its names comes; None for what it defines itself.
    data : mapping of str to Path
        Data files that it names.
    """

    name: str
    path: Path | None
    is_package: bool
    imports: tuple[Taken, ...] = ()
    bound: Mapping[str, Taken | None] = field(default_factory=dict)
    data: Mapping[str, Path] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Path in the package, the same wherever it is installed."""
        inside = self.name.split(".")[1:] + (["__init__"] if self.is_package else [])
        return "/".join(inside) + ".py"


@cache
def _computed(starts: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """(digests, versions) of what computations begin with."""
    counted, data, foreign = _closure(starts)
    digests = {label: _digest(path) for label, path in sorted((counted | data).items())}
    return digests, _versions({DISTRIBUTIONS[name] for name in foreign & DISTRIBUTIONS.keys()})


@cache
def _closure(starts: tuple[str, ...]) -> tuple[dict[str, Path], dict[str, Path], set[str]]:
    """(sources, data files, names of packages of others) that are reached from these modules."""
    counted: dict[str, Path] = {}
    data: dict[str, Path] = {}
    foreign: set[str] = set()
    todo: list[tuple[Taken, str]] = [((start, None), "") for start in starts]
    seen: set[Taken] = set()
    roots = {start.partition(".")[0] for start in starts}
    while todo:
        taken, by = todo.pop()
        if taken in seen:
            continue
        seen.add(taken)
        root, (name, wanted) = taken[0].partition(".")[0], taken
        if root not in roots:
            foreign.add(root)
            continue
        module = _module(name)
        if module is None:
            raise ProvenanceError(f"{by or 'provenance'}: imports {name}, which is not there")
        for around in _around(module):
            if around.path is not None:
                counted[around.label] = around.path
        data |= module.data
        todo += [(other, name) for other in _followed(module, wanted, by)]
    return counted, data, foreign


def _followed(module: _Module, wanted: str | None, by: str) -> list[Taken]:
    """What is reached through a module from which `wanted` is taken."""
    if not module.is_package or wanted is None:
        # Of a package that is taken whole any name may be used.
        return [*module.imports, *(origin for origin in module.bound.values() if origin)]
    found: list[Taken] = []
    if wanted in module.bound:
        origin = module.bound[wanted]
        found += [origin] if origin else module.imports
    if _module(inside := f"{module.name}.{wanted}") is not None:
        found.append((inside, None))
    if not found and wanted not in module.bound:
        raise ProvenanceError(
            f"{by}: takes {wanted} from the package {module.name}, which does not say of which module it is; "
            "import it from that module"
        )
    return found


def _around(module: _Module) -> Iterator[_Module]:
    """The module and the packages in which it is."""
    name = module.name
    while name:
        if (found := _module(name)) is not None:
            yield found
        name = name.rpartition(".")[0]


@cache
def _module(name: str) -> _Module | None:
    """What the source of a module says, by its full name; None if there is none."""
    parts = name.split(".")
    outer = _spec(".".join(parts[:2]))
    if outer is None:
        return None
    if len(parts) <= 2:
        is_package = outer.submodule_search_locations is not None
        if not outer.has_location or outer.origin is None:
            return _Module(name, None, is_package) if is_package else None
        path = Path(outer.origin)
    else:
        folder = _folder(".".join(parts[:2]))
        if folder is None:
            return None
        inside = folder.joinpath(*parts[2:])
        is_package = (inside / "__init__.py").is_file()
        path = inside / "__init__.py" if is_package else inside.with_suffix(".py")
        if not path.is_file():
            return None
    text = path.read_bytes()
    imports: list[Taken] = []
    bound: dict[str, Taken | None] = {}
    if is_package and (stub := path.with_suffix(".pyi")).is_file():
        for statement in ast.parse(stub.read_bytes()).body:
            bound |= {as_name: taken for taken, as_name in _taken(statement, name, is_package)}
    for statement, runs, inner in _statements(ast.parse(text).body):
        for taken, as_name in _taken(statement, name, is_package):
            if runs:
                imports.append(taken)
            if is_package and not inner:
                bound[as_name] = taken
        if is_package and not inner:
            bound |= dict.fromkeys(_defined(statement))
    return _Module(name, path, is_package, tuple(imports), bound, _named_data(parts, text))


def _statements(
    body: Iterable[ast.stmt], runs: bool = True, inner: bool = False
) -> Iterator[tuple[ast.stmt, bool, bool]]:
    """(statement, whether it runs, whether in a function or class) of each, however deep."""
    for statement in body:
        yield statement, runs, inner
        typing_only = isinstance(statement, ast.If) and "TYPE_CHECKING" in (
            getattr(statement.test, "id", None),
            getattr(statement.test, "attr", None),
        )
        within = inner or isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            below = getattr(statement, part, ())
            if part in ("handlers", "cases"):
                below = [each for branch in below for each in branch.body]
            yield from _statements(below, runs and not (typing_only and part == "body"), within)


def _taken(statement: ast.stmt, name: str, is_package: bool) -> Iterator[tuple[Taken, str]]:
    """(what is taken, the name that it gets) by a statement of the module `name`."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            yield (alias.name, None), alias.asname or alias.name.partition(".")[0]
    elif isinstance(statement, ast.ImportFrom):
        base = statement.module or ""
        if statement.level:
            up = statement.level - is_package
            inside = name.split(".")[: -up or None]
            base = ".".join([*inside, base] if base else inside)
        for alias in statement.names:
            yield (base, None if alias.name == "*" else alias.name), alias.asname or alias.name


def _defined(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement binds without an import."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    yield from (target.id for target in targets if isinstance(target, ast.Name))


def _named_data(parts: list[str], text: bytes) -> dict[str, Path]:
    """Data files of the top folder whose names stand in the text of a module, by their labels."""
    by_name, pattern = _data(".".join(parts[:2]))
    named = set(pattern.findall(text)) if pattern else set()
    return {label: path for name in named for label, path in by_name[name].items()}


@cache
def _data(room: str) -> tuple[dict[bytes, dict[str, Path]], re.Pattern[bytes] | None]:
    """(data files of a top folder by name, and what finds such a name in a text)."""
    folder = _folder(room)
    found: dict[bytes, dict[str, Path]] = {}
    for path in _files(folder) if folder is not None else ():
        if path.suffix not in (".py", ".pyi") and folder is not None:
            label = f"{room.rpartition('.')[2]}/{path.relative_to(folder).as_posix()}"
            found.setdefault(path.name.encode(), {})[label] = path
    names = b"|".join(map(re.escape, found))
    return found, re.compile(rb"""(?<=["'/])(?:%b)(?=["'])""" % names) if found else None


def _files(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        yield from (Path(where, name) for name in sorted(names))


# --- files and versions of this installation ----------------------------------------------------


@cache
def _spec(name: str) -> ModuleSpec | None:
    """Of a package or a top folder of it; nothing of them is imported but a package's own ``__init__.py``."""
    try:
        return importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):  # ValueError: of __main__
        return None


def _folder(name: str) -> Path | None:
    """The folder of a top folder's package."""
    spec = _spec(name)
    locations = spec.submodule_search_locations if spec else None
    return Path(next(iter(locations))) if locations else None


@cache
def _path(label: str) -> Path | None:
    """The file of that label in this installation; None if it is not there."""
    room, _, inside = label.partition("/")
    if inside:
        folder = _folder(f"{_PACKAGE}.{room}")
        path = folder / inside if folder else None
    else:
        module = _module(f"{_PACKAGE}.{room}".removesuffix(".py").removesuffix(".__init__"))
        path = module.path if module else None
    return path if path and path.is_file() else None


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:20]


def _versions(distributions: Iterable[str]) -> dict[str, str]:
    return {name: _version(name) for name in ("python", *sorted(distributions))}


@cache
def _version(name: str) -> str:
    """Of a distribution, or of Python: a repair of Python's, such as 3.11.9, changes no number."""
    if name == "python":
        return "{}.{}".format(*sys.version_info)
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
