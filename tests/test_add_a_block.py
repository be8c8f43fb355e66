"""The page "add a block", followed: its files written, its changes made, its commands run, in a copy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import Outcome
from microzone.gateware.blocks import BLOCKS
from microzone.sim.blocks import BENCHES
from microzone.sim.build.simulators import SIMULATORS
from test_site import blocks, matches

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "add-a-block.md"
FOLDERS = ("golden_model", "gateware", "sim", "boards", "tools")


class Command(NamedTuple):
    """A command of the page, what it prints, and how many blocks of code stand before it."""

    line: str
    printed: str
    after: int


CODE = [block for block in blocks(PAGE) if block.language in {"python", "diff"}]
COMMANDS = [
    Command(*block.text.removeprefix("$ ").split("\n", 1), sum(code.line < block.line for code in CODE))  # type: ignore[arg-type]
    for block in blocks(PAGE)
    if block.language == "console"
]


def copied(folder: Path, *, after: int) -> Path:
    """The packages as they are once the first blocks of code of the page have been followed."""
    for name in FOLDERS:
        shutil.copytree(
            ROOT / name, folder / "microzone" / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", folder / "microzone")
    for code in CODE[:after]:
        first, _, text = code.text.partition("\n")
        path = folder / "microzone" / first.removeprefix("# ")
        if code.language == "python":
            path.parent.mkdir(exist_ok=True)
            assert not path.exists(), f"{path.name} is there already"
            path.write_text(text, encoding="utf-8")
            continue
        old, new = (
            "".join(line[1:] + "\n" for line in text.splitlines() if line[0] in kept) for kept in (" -", " +")
        )
        source = path.read_text(encoding="utf-8")
        assert source.count(old) == 1, f"{first}: {source.count(old)} times\n{old}"
        path.write_text(source.replace(old, new), encoding="utf-8")
    return folder


def run(line: str, copy: Path, folder: Path) -> Outcome:
    """A command of the page, on the packages of the copy."""
    program, *arguments = line.split()
    words = arguments if program == "python" else ["-m", "microzone.tools.cli.main", *arguments]
    environment = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.after}: {command.line}")
def test_the_commands_of_the_page_print_what_it_says(command: Command, tmp_path: Path) -> None:
    """A block that is in no package: emitted, counted, simulated, synthesised, and found when it is broken."""
    if "icarus" in command.line and SIMULATORS["icarus"].version() is None:
        pytest.skip(f"icarus is not installed; get it with: {SIMULATORS['icarus'].how_to_get}")
    copy = copied(tmp_path / "copy", after=command.after)
    ended = run(command.line, copy, tmp_path)
    assert matches(command.printed, ended), ended.err + ended.out
    assert ended.status == (1 if "error:" in command.printed else 0)
    if "verilog" in command.line:
        text = (tmp_path / "peak.sv").read_text(encoding="utf-8")
        assert re.search(r"^module peak\(", text, re.MULTILINE) and "input valid" in text


def test_the_page_shows_a_block_emitted_counted_simulated_and_broken() -> None:
    lines = [command.line for command in COMMANDS]
    assert len(lines) == 6 and sum("sim" in line.split() for line in lines) == 4
    assert {"--netlist", "icarus"} <= set(" ".join(lines).split())
    assert len(CODE) == 10 and COMMANDS[-1].after == 10 and "error:" in COMMANDS[-1].printed


def test_the_code_of_the_page_is_formatted_as_ours(tmp_path: Path) -> None:
    """By the rules of the repository for ruff."""
    copy = copied(tmp_path, after=len(CODE) - 1) / "microzone"
    for name in (
        "golden_model/peak.py",
        "gateware/peak",
        "sim/benches/peak.py",
        "gateware/blocks.py",
        "sim/blocks.py",
    ):
        for rule in (["check"], ["format", "--check"]):
            done = subprocess.run(
                [sys.executable, "-m", "ruff", *rule, "--config", ROOT / "pyproject.toml", copy / name],
                capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_code_of_the_page_has_types(tmp_path: Path) -> None:
    """As `make lint` looks at ours: mypy, strictly."""
    copy = copied(tmp_path, after=len(CODE) - 1)
    for path in (ROOT / "package").iterdir():
        if path.name != "__pycache__":
            (copy / "microzone" / path.name).symlink_to(path)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "-p", "microzone.gateware",
         "-p", "microzone.sim.benches"],
        cwd=tmp_path, env=os.environ | {"MYPYPATH": str(copy)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_every_block_has_a_bench() -> None:
    """The chip runs in closed loop instead, where all of it is compared."""
    assert [name for name in BLOCKS if name not in BENCHES] == ["chip"]
    for name, bench in BENCHES.items():
        assert bench.block is BLOCKS[name]
        assert bench.default in bench.configs
        assert bench.takes_channels or bench.block.counted
