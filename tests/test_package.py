"""The wheel: built, installed into an empty folder and imported from elsewhere, under one import root."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

from microzone.gateware.toolchain import find_tool

ROOT = Path(__file__).resolve().parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def test_the_wheel_installs_and_imports_from_another_folder(tmp_path: Path) -> None:
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
    assert "microzone/sim/replay/replay.sv" in names and "microzone/golden_model/py.typed" in names
    subprocess.run(
        [*PIP, "install", "--no-index", "--no-deps", "--target", str(site), str(wheel)], check=True
    )
    check = (
        "import microzone.golden_model, microzone.gateware, microzone.tools.cli.main as cli;"
        "from microzone.sim.replay.replay import replay_design;"
        "design = replay_design(microzone.golden_model.ChipConfig.make(), 1);"
        "assert 'module replay' in design.sources['replay.sv'];"
        f"assert cli.__file__.startswith({str(site)!r}), cli.__file__"
    )
    # -S: without the editable install's hook, which site would run.
    path = os.pathsep.join([str(site), sysconfig.get_path("purelib")])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # Without its site the interpreter does not know where pip has put Yosys.
    environment = {**os.environ, "PYTHONPATH": path, "YOSYS": find_tool("yosys")}
    subprocess.run([sys.executable, "-S", "-c", check], cwd=elsewhere, env=environment, check=True)


def test_the_golden_model_needs_no_hardware_tools() -> None:
    check = (
        "import sys, microzone.golden_model;"
        "found = {'amaranth', 'cocotb', 'matplotlib', 'typer'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
