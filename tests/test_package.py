"""The package as it is installed, what it exports, and which of its modules may import which."""

from __future__ import annotations

import ast
import importlib
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import microzone
import pytest
from amaranth.lib.wiring import Component
from microzone.facade import exports
from microzone.gateware.toolchain import find_tool

ROOT = Path(__file__).resolve().parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
FOLDERS = {"microzone": "package"} | {
    f"microzone.{name}": name for name in ("golden_model", "gateware", "sim", "boards", "tools")
}
FACADES = (
    "microzone.golden_model",
    "microzone.golden_model.cfpc",
    "microzone.gateware",
    "microzone.sim",
    "microzone.boards",
    "microzone.host",
)


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def sources() -> dict[str, Path]:
    """Every module of the package, by name."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join([package, *(part for part in parts if part != "__init__")])
            found[name] = path
    return found


def imported(name: str, path: Path) -> set[str]:
    """Modules that a module names in its imports; of ``from a import b``, a.b too."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                module = importlib.util.resolve_name("." * node.level + module, package)
            found.add(module)
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return {module for module in found if module.split(".")[0] == "microzone"}


# --- the wheel --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """An empty folder that a wheel of the checkout is installed in, and the names in the wheel."""
    tmp_path = tmp_path_factory.mktemp("wheel")
    # A copy, since setuptools leaves build/ behind; without isolation and index, since tests run offline too.
    source = tmp_path / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    build = [*PIP, "wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(source)]
    subprocess.run(build, check=True)
    (wheel,) = wheels.iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"microzone", wheel.name.split("-py3")[0] + ".dist-info"}
    subprocess.run(
        [*PIP, "install", "--no-index", "--no-deps", "--target", str(site), str(wheel)], check=True
    )
    return site, names


def test_the_wheel_installs_and_imports_from_another_folder(
    site: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, names = site
    assert "microzone/sim/replay/replay.sv" in names and "microzone/golden_model/py.typed" in names
    check = (
        "import microzone.golden_model, microzone.gateware, microzone.tools.cli.main as cli;"
        "from microzone.host import Host;"
        "from microzone.sim.replay.replay import replay_design;"
        "design = replay_design(microzone.golden_model.ChipConfig.make(), 1);"
        "assert 'module replay' in design.sources['replay.sv'];"
        f"assert cli.__file__.startswith({str(folder)!r}), cli.__file__"
    )
    # -S: without the editable install's hook, which site would run.
    path = os.pathsep.join([str(folder), sysconfig.get_path("purelib")])
    # Without its site the interpreter does not know where pip has put Yosys.
    environment = {**os.environ, "PYTHONPATH": path, "YOSYS": find_tool("yosys")}
    subprocess.run([sys.executable, "-S", "-c", check], cwd=tmp_path, env=environment, check=True)


def test_the_wheel_has_every_module_and_nothing_that_imports_what_it_lacks(
    site: tuple[Path, list[str]],
) -> None:
    _, names = site
    modules = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name
        for name in names
        if name.endswith(".py")
    }
    known = sources()
    assert modules.keys() == known.keys()
    for name, path in known.items():
        for module in imported(name, path):
            # `from a import b`: b may be a name in the module a.
            assert module in modules or module.rpartition(".")[0] in modules, f"{name} imports {module}"


def test_a_wheel_and_a_checkout_never_merge(site: tuple[Path, list[str]]) -> None:
    """The checkout's hook is there, and its folder the current one; all comes from the wheel all the same."""
    folder, _ = site
    code = (
        "import sys, json, microzone, microzone.boards.pins, microzone.host, microzone.sim.blocks;"
        "files = [m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'microzone'];"
        "print(json.dumps([list(microzone.__path__), files]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    path, files = json.loads(done.stdout)
    assert path == [str(folder / "microzone")]
    assert len(files) > 20 and all(file.startswith(str(folder)) for file in files)
    # Without the wheel it is the checkout's alone.
    assert list(microzone.__path__) == [str(ROOT / "package")]


def test_the_packages_are_the_folders() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert settings["package-dir"] == FOLDERS
    packages = {name for name, path in sources().items() if path.name == "__init__.py"}
    assert sorted(settings["packages"]) == sorted(packages)
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), f"{path.parent} in {package} is no package"


def test_the_version_is_that_of_the_distribution() -> None:
    assert microzone.__version__ == metadata.version("microzone")


# --- what is exported -------------------------------------------------------------------------


def test_every_package_with_a_list_of_exports_is_tested() -> None:
    stubs = {name for name, path in sources().items() if path.with_suffix(".pyi").exists()}
    assert stubs == set(FACADES)


@pytest.mark.parametrize("name", FACADES)
def test_every_export_is_there_for_users_and_type_checkers(name: str) -> None:
    package = importlib.import_module(name)
    where = exports(Path(str(package.__file__)).with_suffix(".pyi"))
    assert package.__all__ == sorted(where) and set(where) <= set(dir(package))
    for export, module in where.items():
        assert getattr(package, export) is getattr(importlib.import_module(module, name), export)
    # A module of the same name would be found in its place, once it is loaded.
    taken = {module.name for module in pkgutil.iter_modules(package.__path__)} & where.keys()
    assert not taken, f"{name} exports {taken} and has modules of these names"
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018
    with pytest.raises(ImportError):
        exec(f"from {name} import nothing")


@pytest.mark.parametrize(
    "line", ["from .config import ChipConfig", "from .config import ChipConfig as C", "import numpy", "X = 1"]
)
def test_a_list_of_exports_has_nothing_but_names_and_their_modules(tmp_path: Path, line: str) -> None:
    stub = tmp_path / "__init__.pyi"
    stub.write_text(f"from .events import Events as Events\n{line}\n")
    with pytest.raises(ValueError, match=r"__init__\.pyi, line 2: not of the form"):
        exports(stub)


def test_all_components_are_exported() -> None:
    import microzone.gateware as gateware

    components = set()
    for module in pkgutil.walk_packages(gateware.__path__, "microzone.gateware."):
        loaded = importlib.import_module(module.name)
        for name in getattr(loaded, "__all__", ()):
            kind = getattr(loaded, name)
            if isinstance(kind, type) and issubclass(kind, Component) and kind.__module__ == module.name:
                components.add(name)
    assert len(components) > 25
    assert components <= set(gateware.__all__)


def test_no_module_imports_from_a_list_of_exports() -> None:
    """What a module imports is what it is computed with, and no more."""
    modules = sources()
    for name, path in modules.items():
        for module in imported(name, path):
            package = module.rpartition(".")[0]
            assert package not in FACADES or module in modules, f"{name} imports {module} from {package}"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("microzone", "ast numpy pydantic"),
        ("microzone.golden_model.config", "numba scipy amaranth cocotb matplotlib"),
        ("microzone.golden_model", "numpy pydantic"),
        ("microzone.gateware", "amaranth numpy"),
        ("microzone.gateware.detection.detection", "numba scipy.signal"),
        ("microzone.sim", "cocotb numpy"),
        ("microzone.boards", "amaranth_boards"),
        ("microzone.host", "serial rich"),
        ("microzone.tools.cli.main", "numpy pydantic amaranth cocotb numba scipy matplotlib distributed"),
    ],
)
def test_what_is_not_needed_is_not_loaded(module: str, absent: str) -> None:
    loaded = run(f"import sys, {module}; print(*(n for n in {absent.split()} if n in sys.modules))")
    assert loaded.split() == []


def test_the_golden_model_needs_no_hardware_tools() -> None:
    check = (
        "import sys, microzone.golden_model as model; [getattr(model, name) for name in model.__all__];"
        "found = {'amaranth', 'cocotb', 'matplotlib', 'typer'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


# --- which may import which -------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources as one package, as `make lint` links them."""
    for package, folder in FOLDERS.items():
        where = tmp_path.joinpath(*package.split("."))
        shutil.copytree(ROOT / folder, where, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path / "microzone"


def lint_imports(tree: Path) -> tuple[int, str]:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache", "--no-logo"],
        cwd=tree.parent, env={**os.environ, "PYTHONPATH": str(tree.parent)}, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, " ".join(done.stdout.split())


def test_an_import_upwards_or_in_a_circle_is_found(tree: Path) -> None:
    status, said = lint_imports(tree)
    assert status == 0, said
    for line, where, expected in (
        (
            "from ..gateware import chip",
            "golden_model/events.py",
            "microzone.golden_model.events -> microzone.gateware",
        ),
        ("from ..tools import models", "sim/blocks.py", "microzone.sim.blocks -> microzone.tools.models"),
        (
            "from ..chip import Chip",
            "gateware/microcircuit/parameters.py",
            "No cycles are allowed in microzone.gateware",
        ),
    ):
        before = (tree / where).read_text()
        (tree / where).write_text(f"{before}\n\n{line}\n")
        status, said = lint_imports(tree)
        (tree / where).write_text(before)
        assert status == 1 and expected in said, said


def test_a_folder_without_a_place_among_the_layers_is_found(tree: Path) -> None:
    (tree / "attic").mkdir()
    (tree / "attic" / "__init__.py").touch()
    status, said = lint_imports(tree)
    assert status == 1 and "attic" in said, said
