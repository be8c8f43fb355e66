"""Provenance: which files and versions a computation depends on; a kept result is found again only with them."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import microzone
import numpy as np
import pytest
from microzone.golden_model import provenance as module
from microzone.golden_model.provenance import (
    DISTRIBUTIONS,
    ROOMS,
    Provenance,
    ProvenanceError,
    provenance,
    sources,
    whole_package,
)

# --- the closure of imports, on toy packages ------------------------------------------------------

Toy = Callable[..., set[str]]
NUMBERS = itertools.count()
FILES = {
    "model/__init__.py": "from .unasked import nothing",
    "model/unasked.py": "nothing = 0",
    "model/leaf.py": "x = 1",
    "model/other.py": "x = 2",
    "tools/__init__.py": "",
    "tools/deep/__init__.py": "",
    "tools/deep/near.py": "from ...model import leaf",
    # A package that hands on names: at once, on demand (its stub says from where), its own.
    "pack/__init__.py": "from .eager import early, early as renamed\nown = 1\ndef __getattr__(name): ...",
    "pack/__init__.pyi": "from .lazy import late as late",
    "pack/eager.py": "early = 1",
    "pack/lazy.py": "late = 1",
    "pack/inside.py": "from ..model.leaf import x",
}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """Of a package `toy` with :data:`FILES` and ``model/start.py``: what counts for that, but what always does."""
    monkeypatch.syspath_prepend(tmp_path)

    def counted(start: str, **files: str) -> set[str]:
        name = f"toy{next(NUMBERS)}"  # a process reads a module once
        for path, text in {**FILES, "model/start.py": start, **files}.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text).replace("toy.", f"{name}."))
        found = {path.relative_to(tmp_path / name).as_posix() for path in sources(f"{name}.model.start")}
        assert found >= {"model/__init__.py", "model/start.py"}
        return found - {"model/__init__.py", "model/start.py"}

    return counted


@pytest.mark.parametrize(
    ("start", "counted"),
    [
        ("", set()),
        ("from .leaf import x", {"model/leaf.py"}),
        ("from . import leaf", {"model/leaf.py"}),
        ("from . import leaf as other", {"model/leaf.py"}),
        ("from ..tools.deep import near", {"tools/__init__.py", "tools/deep/__init__.py", "tools/deep/near.py", "model/leaf.py"}),
        ("import toy.model.leaf", {"model/leaf.py"}),
        ("from toy.model import leaf", {"model/leaf.py"}),
        ("def f():\n    if True:\n        from .leaf import x", {"model/leaf.py"}),
        ("class C:\n    def f(self):\n        from . import leaf", {"model/leaf.py"}),
        ("try:\n    from .leaf import x\nexcept ImportError:\n    from .other import x", {"model/leaf.py", "model/other.py"}),
        ("match 1:\n    case 1:\n        from .leaf import x", {"model/leaf.py"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .leaf import x\nelse:\n    from .other import x", {"model/other.py"}),
        ("import typing\nif typing.TYPE_CHECKING:\n    from .leaf import x", set()),
        ('"""from .leaf import x"""', set()),
        ("from .start import y", set()),  # in a circle
        ("from ..pack import early", {"pack/__init__.py", "pack/eager.py"}),
        ("from ..pack import renamed", {"pack/__init__.py", "pack/eager.py"}),
        ("from ..pack import late", {"pack/__init__.py", "pack/lazy.py"}),
        ("from ..pack import own", {"pack/__init__.py", "pack/eager.py"}),
        ("from ..pack import inside", {"pack/__init__.py", "pack/inside.py", "model/leaf.py"}),
        ("from ..pack import *", {"pack/__init__.py", "pack/eager.py", "pack/lazy.py"}),
        ("from .. import pack", {"pack/__init__.py", "pack/eager.py", "pack/lazy.py"}),
        ("import toy.pack as p", {"pack/__init__.py", "pack/eager.py", "pack/lazy.py"}),
    ],
)  # fmt: skip
def test_what_a_module_imports_counts(toy: Toy, start: str, counted: set[str]) -> None:
    assert toy(start) == counted


def test_a_name_that_a_package_does_not_say_the_module_of_is_refused(toy: Toy) -> None:
    with pytest.raises(
        ProvenanceError, match=r"^toy\d+\.model\.start: takes hidden from the package toy\d+\.pack"
    ):
        toy("from ..pack import hidden")
    with pytest.raises(ProvenanceError, match=r"start: imports toy\d+\.model\.gone, which is not there"):
        toy("from .gone import x")


def test_data_files_count_where_they_are_named(toy: Toy) -> None:
    data = {"model/a.rdl": "", "model/b.rdl": "", "tools/deep/c.sv": "", "model/sub/d.json": ""}
    assert toy("A = 'a.rdl'", **data) == {"model/a.rdl"}
    assert toy('A = "sub/d.json"', **data) == {"model/sub/d.json"}
    assert toy('"""Not ``b.rdl``, nor aa.rdl."""\nA = "aa.rdl"\nC = "c.sv"', **data) == set()
    assert toy("from ..tools.deep import near", **data, **{"tools/deep/near.py": "A = 'c.sv'"}) == {
        "tools/__init__.py", "tools/deep/__init__.py", "tools/deep/near.py", "tools/deep/c.sv"
    }  # fmt: skip


def test_versions_of_what_is_imported(toy: Toy, tmp_path: Path) -> None:
    toy(
        "import numpy as np, json\ndef f():\n    from scipy.signal import butter",
        **{"model/leaf.py": "import rich"},
    )
    (name,) = (path.name for path in tmp_path.iterdir())
    versions = provenance(f"{name}.model.start", tools={"yosys": "0.70"}).versions
    assert set(versions) == {"python", "numpy", "scipy", "yosys"} and versions["numpy"] == np.__version__
    assert versions["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"


def test_where_a_computation_begins() -> None:
    found = sources(module)
    assert (
        found
        == sources(module.__name__)
        == sources(provenance)
        == sources(partial(partial(provenance), tools={}))
    )
    assert {path.name for path in found} == {"__init__.py", "provenance.py"}
    assert found < sources(module, "microzone.golden_model.fixed")


# --- the key ------------------------------------------------------------------------------------

HERE = Provenance({"a.py": "1", "b/c.py": "2"}, {"python": "3.11", "numpy": "2.0"})


def test_a_key_is_of_everything() -> None:
    others = [
        Provenance({**HERE.sources, "a.py": "3"}, HERE.versions),
        Provenance({"a.py": "1"}, HERE.versions),
        Provenance(HERE.sources, {**HERE.versions, "numpy": "2.1"}),
        Provenance(HERE.sources, {**HERE.versions, "yosys": "0.70"}),
    ]
    keys = [each.key("x") for each in (HERE, *others)] + [HERE.key("y"), HERE.key("")]
    assert len(set(keys)) == len(keys) and all(len(key) == 64 for key in keys)
    assert HERE.key("x") == HERE.key(b"x") == Provenance(**json.loads(json.dumps(HERE.facts()))).key("x")
    assert HERE.key("x") == Provenance(dict(reversed(HERE.sources.items())), HERE.versions).key("x")


def test_content_counts_and_not_where_or_when(toy: Toy, tmp_path: Path) -> None:
    for text in ("from .leaf import x", "from .leaf import x", "from .leaf import x  # a comment"):
        toy(text)
    found = [provenance(f"{name}.model.start") for name in sorted(path.name for path in tmp_path.iterdir())]
    assert found[0] == found[1] and found[0].difference(found[1]) == ""
    assert found[2].difference(found[0]) == "another model/start.py"


def test_a_difference_in_words() -> None:
    other = Provenance(
        {"a.py": "3", **{f"{i}.py": "" for i in range(4)}}, {"python": "3.12", "yosys": "0.70"}
    )
    assert HERE.difference(HERE) == ""
    assert HERE.difference(other) == (
        "another 0.py, 1.py, 2.py and 3 more; numpy 2.0 instead of none; python 3.11 instead of 3.12; "
        "yosys none instead of 0.70"
    )


def test_what_another_process_has() -> None:
    mine = provenance(module)
    assert mine.here() == mine and whole_package().here() == whole_package()
    gone = Provenance({"golden_model/gone.py": "1", "gone/x.py": "1", "gone.py": "1"}, {"no-such-thing": "1"})
    assert gone.here() == Provenance(dict.fromkeys(gone.sources, ""), {"no-such-thing": ""})


# --- this package -------------------------------------------------------------------------------

COMPUTATIONS = {
    "sessions": "microzone.tools.sweep.work",
    "costs": "microzone.tools.sweep.synthesis",
    "inference": "microzone.tools.infer.work",
    "simulation": "microzone.sim.build.simulators",
    "netlist": "microzone.sim.build.netlist",
    "bitstream": "microzone.boards.build",
}
NO_NUMBERS = {
    "colorama", "find_libpython", "microzone", "platformdirs", "pydantic", "tomli_w",
}  # fmt: skip
"""Packages of others that computations import, but that decide no number of theirs."""


def modules() -> Iterator[str]:
    for label in whole_package().sources:
        if label.endswith(".py"):
            yield f"microzone/{label}".removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_the_imports_of_every_module_can_be_followed() -> None:
    """Else :class:`ProvenanceError` names the module that takes a name from a package, and the name."""
    names = list(modules())
    assert len(names) > 200 and len(sources(*names)) > len(names)


def test_every_package_that_a_computation_imports_is_decided_on() -> None:
    _, _, foreign = module._closure(tuple(COMPUTATIONS.values()))
    assert foreign - sys.stdlib_module_names - DISTRIBUTIONS.keys() <= NO_NUMBERS - {"microzone"}
    assert {"numpy", "numba", "amaranth"} <= foreign


def test_every_data_file_is_named_by_a_source() -> None:
    """But the specifications of sweeps: what is asked for, not what it is computed from."""
    data = {
        label for label in whole_package().sources if not label.endswith((".py", ".pyi", ".typed", ".sh"))
    }
    (reached,) = ({*module._closure(tuple(modules()))[1]},)
    assert {"gateware/registers/chip.rdl", "boards/resources.json"} < reached
    assert data - reached == {"tools/sweep/detection.toml", "tools/sweep/word_lengths.toml"}


def test_finding_out_loads_nothing() -> None:
    check = f"""
        import importlib.util, sys
        spec = importlib.util.spec_from_file_location("microzone.golden_model.provenance", {module.__file__!r})
        alone = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = alone
        spec.loader.exec_module(alone)
        found = alone.provenance("microzone.tools.sweep.synthesis")
        assert alone.provenance("microzone.tools.sweep.synthesis") == found
        loaded = {{name.partition(".")[0] for name in sys.modules}} & {{"numpy", "numba", "scipy", "amaranth"}}
        rooms = [name for name in sys.modules if name.startswith("microzone.") and name != spec.name]
        print(len(found.sources), loaded, rooms)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(check)], capture_output=True, text=True, check=True
    )
    count, loaded, rooms = done.stdout.replace("set()", "-").split()
    assert int(count) > 30 and loaded == "-" and rooms == "[]"


# --- edits of a copy ----------------------------------------------------------------------------


def copied(name: str, folder: Path, *, edit: str | None = None) -> Path:
    """The package's files once more, as the package `name` in a folder: links, but for the room of an edited file."""
    for room in ROOMS:
        spec = importlib.util.find_spec(f"microzone.{room}")
        if spec is None or spec.origin is None:
            continue
        source, target = Path(spec.origin).parent, folder / name / room
        target.parent.mkdir(parents=True, exist_ok=True)
        if edit is None or edit.startswith(f"{room}/"):
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.symlink_to(source)
    if edit is not None:
        with (folder / name / edit).open("ab") as file:
            file.write(b"\n")
    return folder / name


@pytest.fixture(scope="module")
def unedited() -> dict[str, Provenance]:
    return {each: provenance(start) for each, start in COMPUTATIONS.items()}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("gateware/registers/chip.rdl", {"bitstream"}),
        ("gateware/link/uart.py", {"bitstream"}),
        ("gateware/microcircuit/microcircuit.py", {"costs", "bitstream"}),
        ("sim/build/ecp5_cells.sv", {"netlist"}),
        ("sim/build/netlist.py", {"netlist"}),
        ("golden_model/experiment/engine.py", {"sessions", "inference"}),
        ("golden_model/inference/circuits.py", {"inference"}),
        ("tools/sweep/scenario.py", {"sessions"}),
        ("boards/pins.py", {"bitstream"}),
        ("boards/resources.json", set()),
        ("tools/reproduce/rate.py", set()),
    ],
)
def test_an_edit_changes_what_depends_on_it(
    unedited: dict[str, Provenance],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    changed: set[str],
) -> None:
    root = f"copy{next(NUMBERS)}"
    copied(root, tmp_path, edit=name)
    monkeypatch.syspath_prepend(tmp_path)
    for each, start in COMPUTATIONS.items():
        found = provenance(start.replace("microzone", root)).difference(unedited[each])
        # The root package may have a source of its own, which the copy has not.
        found = found.replace("another __init__.py, ", "another ").replace("another __init__.py", "")
        assert found == (f"another {name}" if each in changed else ""), each


PROGRAM = """
import contextlib, functools, io, json, shutil, sys, tomllib
from pathlib import Path
import numpy as np
import microzone.golden_model.provenance as provenance
assert Path(provenance.__file__).is_relative_to(Path.cwd()), provenance.__file__
from microzone.boards.cost import Cost
from microzone.gateware.link.record_fifo import RecordFifo
from microzone.golden_model.config import ChipConfig
from microzone.golden_model.inference.behaviour import Experiment
from microzone.sim.build import kept_verilog
from microzone.sim.build.simulators import Design, Verilator
from microzone.tools.infer import work as infer
from microzone.tools.infer.request import Method, Request, Wanted
from microzone.tools.infer.store import Simulations
from microzone.tools.sweep import run, synthesis
from microzone.tools.sweep.spec import Spec
from rich.console import Console

done = []

def counted(where, name, kind, fake=None):
    real = getattr(where, name)
    @functools.wraps(real)
    def counting(*rest, **options):
        done.append(kind)
        return (fake or real)(*rest, **options)
    setattr(where, name, counting)

# What takes long is faked: synthesis, compilers, pictures.
counted(run, "simulate", "sessions")
counted(synthesis, "microcircuit_cost", "costs", lambda config: Cost(9, 300, 5280, 4, 2, 2e7))
counted(infer, "simulate", "simulations")


def compiled(self, design, work, log):
    (work / "program").write_text("compiled")
    log.write_text("nothing to say")
    return work / "program"


counted(Verilator, "_compile", "compiled", compiled)
counted(kept_verilog, "to_verilog", "verilog", lambda *_: "module fifo; endmodule")
run.draw_formats = run.draw_behaviour = lambda *_: None
SPEC = Spec.model_validate(tomllib.loads('''
sessions = 2
[[experiment]]
name = "delays"
protocol = {paired = 4, cs_alone = 0}
[[experiment.axis]]
fields = ["noi.delay_s"]
values = [0.1, 0.2]
'''))
REQUEST = Request(method=Method.MAXENT, wanted=(Wanted("cr_rate", 0.45, 0.3),), names=("potentiation",), limits={},
    config=ChipConfig.make(), experiment=Experiment(paired=4, cs_alone=0, unpaired=2), variant="engine-fixed",
    simulations=3, sessions=4, seed=1)

def compute(out, yosys, drawn):
    for each in vars(provenance).values():  # as a new process
        if hasattr(each, "cache_clear"):
            each.cache_clear()
    done.clear()
    status = Console(file=io.StringIO(), width=1000)
    run.tool_versions = synthesis.tool_versions = lambda: {"yosys": yosys, "nextpnr-ice40": "0.9"}
    rows, _ = run.run_sweep(SPEC, ChipConfig.make(), out / "sweep", workers=0, status=status)
    with contextlib.ExitStack() as stack:
        found = Simulations(out / "infer", REQUEST, (None, 0), status, stack)
        found.run("draws", found.draw(), found.seeds(np.arange(3), 0))
    Verilator().build(Design(kept_verilog.sim_sources(drawn), "toy"))
    kept_verilog.kept_verilog(lambda: RecordFifo(4), "fifo")
    lines = status.file.getvalue().splitlines()
    return {"anew": list(done), "asymptote": rows[0].facts()["float_asymptote"], "status": lines}

out, cache, told = Path("out"), Path("cache"), {}
for name, (edits, yosys, drawn) in json.loads(sys.argv[1]).items():
    first = not out.exists()
    before = {path: Path(path).read_text() for path in edits}
    for path, text in edits.items():
        Path(path).write_text(before[path] + text)
    for folder in () if first else (out, cache):
        shutil.copytree(folder, f"kept-{folder}")
    told[name] = compute(out, yosys, drawn)
    for folder in () if first else (out, cache):
        shutil.rmtree(folder)
        Path(f"kept-{folder}").rename(folder)
    for path, text in before.items():
        Path(path).write_text(text)
print(json.dumps(told))
"""

PY, SV = "# edited\n", "// edited\n"
ELSEWHERE = {
    "README.md": "edited",
    "microzone/boards/resources.json": "\n",
    "microzone/boards/table.py": PY,
    "microzone/tools/reproduce/rate.py": PY,
    "microzone/tools/cli/host.py": PY,
    "microzone/tools/sweep/run.py": PY,
    "microzone/tools/sweep/word_lengths.toml": PY,
    "microzone/golden_model/precision/precision.py": PY,
    "microzone/sim/fuzz/link_fuzz.sv": SV,
    "microzone/gateware/link/record_fifo.py": "# the same hardware\n",
}


class Copy:
    """A copy of the package, and what its computations have left in the folders beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = copied("microzone", folder)
        if microzone.__file__ is not None:
            for path in Path(microzone.__file__).parent.glob("*.py*"):
                shutil.copyfile(path, self.root / path.name)
        (folder / "README.md").write_text("")
        self.drawn = min((self.root / "sim/loop").glob("*.sv")).name

    def compute(self, **steps: tuple[dict[str, str], str]) -> dict[str, Any]:
        """Of each step (edits, version of Yosys), one after the other: what was computed anew, and told.

        The first of all begins in an empty folder, every other one with what that has left.
        """
        all_steps = {name: (*step, f"loop/{self.drawn}") for name, step in steps.items()}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps(all_steps)], cwd=self.folder, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(self.folder), "MICROZONE_CACHE": str(self.folder / "cache")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("copy"))


@pytest.fixture(scope="module")
def told(copy: Copy) -> dict[str, Any]:
    return copy.compute(
        first=({}, "0.70"),
        again=({}, "0.70"),
        elsewhere=(ELSEWHERE, "0.70"),
        gateware=({"microzone/gateware/microcircuit/microcircuit.py": PY}, "0.70"),
        flow=({"microzone/boards/flow.py": PY}, "0.70"),
        yosys=({}, "0.71"),
        model=({"microzone/golden_model/microcircuit.py": PY}, "0.70"),
        verilog=({f"microzone/sim/loop/{copy.drawn}": SV}, "0.70"),
        toolchain=({"microzone/gateware/toolchain.py": PY}, "0.70"),
    )


def test_everything_is_computed_once(told: dict[str, Any]) -> None:
    first, again = told["first"], told["again"]
    assert first["anew"] == ["sessions"] * 2 + ["costs"] * 2 + ["simulations", "compiled", "verilog"]
    assert again["anew"] == first["status"] == again["status"] == []
    assert again["asymptote"] == first["asymptote"]


def test_an_edit_of_something_else_keeps_what_is_there(told: dict[str, Any]) -> None:
    assert told["elsewhere"]["anew"] == told["elsewhere"]["status"] == []


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ("gateware", "another gateware/microcircuit/microcircuit.py"),
        ("flow", "another boards/flow.py"),
        ("yosys", "yosys 0.70 instead of 0.71"),
    ],
)
def test_other_gateware_and_another_synthesis_recompute_costs(
    told: dict[str, Any], step: str, why: str
) -> None:
    assert told[step]["anew"] == ["costs"] * 2
    assert told[step]["status"] == [f"out/sweep: costs computed with {why}: computed anew"]


def test_another_model_recomputes_what_runs_it(told: dict[str, Any]) -> None:
    anew = told["model"]["anew"]
    assert {"sessions", "costs", "simulations"} <= {*anew} and "verilog" not in anew
    assert told["model"]["status"] == [
        f"out/{what} computed with another golden_model/microcircuit.py: computed anew"
        for what in ("sweep: sessions", "sweep: costs", "infer: simulations")
    ]


def test_another_verilog_is_compiled(told: dict[str, Any]) -> None:
    assert told["verilog"]["anew"] == ["compiled"] and told["verilog"]["status"] == []


def test_another_toolchain_makes_verilog_anew(told: dict[str, Any]) -> None:
    anew = {*told["toolchain"]["anew"]}
    assert {"verilog", "costs"} <= anew and not anew & {"sessions", "simulations"}


def test_another_measure_is_measured_anew(told: dict[str, Any], copy: Copy) -> None:
    """In a new process, which runs the edited source: no old number comes back."""
    path = copy.root / "tools/sweep/behaviour.py"
    before, text = path.read_text(), "trained[:, -LAST_TRIALS:].mean(axis=1)"
    assert text in before
    path.write_text(before.replace(text, "trained.sum(axis=1) + 7"))
    try:
        found = copy.compute(measure=({}, "0.70"))["measure"]
    finally:
        path.write_text(before)
    assert found["anew"] == ["sessions"] * 2
    assert found["asymptote"] >= 7 > told["first"]["asymptote"]
    assert found["status"] == [
        "out/sweep: sessions computed with another tools/sweep/behaviour.py: computed anew"
    ]


KERNEL = """
import numpy as np
from microzone.golden_model.cfpc.loop import Loop, LoopState
from microzone.golden_model.cfpc.config import CfpcConfig
from microzone.golden_model.cfpc.filter import AdaptiveFilterFloat
config = CfpcConfig.make()
trial = AdaptiveFilterFloat(config).close(LoopState(config.loop), config.reference[:50], config.basis_inputs[:50])
print(float(np.sum(trial.y)))
"""


def test_a_compiled_kernel_is_made_anew_when_what_it_calls_changes(tmp_path: Path) -> None:
    """The loop's output is compiled into the filter's kernel, and stands in another file."""
    copied("microzone", tmp_path, edit="golden_model/cfpc/loop.py")
    (tmp_path / "kernel.py").write_text(KERNEL)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "MICROZONE_CACHE": str(tmp_path / "cache")}

    def result() -> float:
        command = [sys.executable, tmp_path / "kernel.py"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return float(done.stdout)

    before = result()
    assert result() == before
    loop = tmp_path / "microzone" / "golden_model" / "cfpc" / "loop.py"
    text = loop.read_text(encoding="utf-8")
    old = "    y = d * (line[head] if line.size else x)\n"
    assert text.count(old) == 1
    loop.write_text(text.replace(old, old.replace("y = ", "y = 0.5 + ")), encoding="utf-8")
    after = result()
    shutil.rmtree(tmp_path / "cache")
    assert after == result() != before
