"""Names and texts of users: shown as they are, on a terminal, in pictures, in pages; obeyed nowhere."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from conftest import Outcome
from matplotlib.figure import Figure
from matplotlib.text import Text as Drawn
from microzone.golden_model import Events, Result
from microzone.tools.report.figures import save_figure
from microzone.tools.report.page import page, table
from microzone.tools.text import PlainConsole, printable, tinted
from rich.console import Console
from rich.table import Table

Microzone = Callable[..., Outcome]

NAMES = (
    "a$\\foo$", "run[/2026]r", "o[red]x", "o[bold red]x[/]", ":cat:", "\x1b[31mred", "\x1b]0;title\x07", "a\rb", "ü δ 猫",
    os.fsdecode(b"\xff\xfe"), "100 %s {x} {0}", "<b>&", "\u202eabc", "%", "$x$", "[/]",
)  # fmt: skip


def shown(name: str) -> str:
    return printable(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\x1b[2Jb", "a\\x1b[2Jb"), ("a\nb", "a\\nb"), (os.fsdecode(b"\xff"), "\\xff"), ("\ud800", "\\ud800"),
     ("\u202e", "\\u202e"), ("ü δ", "ü δ"), ("\x7f", "\\x7f"), ("\x9b", "\\x9b")],
)  # fmt: skip
def test_nothing_acts_on_a_terminal(text: str, expected: str) -> None:
    assert printable(text) == expected
    assert printable("a\nb\tc", lines=True) == "a\nb\tc"


@pytest.mark.parametrize("name", NAMES)
def test_a_console_prints_a_name_as_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a message, in a table, in a status, beside a coloured word."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    console = PlainConsole()
    console.print(f"{name}: written", highlight=False)
    cells = Table("name", box=None)
    cells.add_row(name)
    console.print(cells)
    console.print(tinted("BIT-ACCURATE", "green", f": {printable(name)}"))
    with console.status(name):
        pass
    lines = stream.getvalue().splitlines()
    assert lines[0] == f"{shown(name)}: written" and lines[2].strip() == shown(name)
    assert lines[3] == f"BIT-ACCURATE: {shown(name)}"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_picture_shows_a_name_as_it_is(name: str, tmp_path: Path) -> None:
    figure = Figure()
    axes = figure.subplots()
    axes.plot([1e-5, 1], [1, 1000], label=name)
    axes.set(title=name, xlabel=name, yscale="log")
    axes.legend()
    figure.suptitle(name)
    save_figure(figure, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    drawn = [text.get_text() for text in figure.findobj(Drawn)]
    assert drawn.count(shown(name)) == 4
    assert any("10^{" in text for text in drawn), "powers of ten at the axis stay"


@pytest.mark.parametrize("name", NAMES)
def test_a_page_shows_a_name_as_it_is(name: str) -> None:
    made = page(name, name, [table(["x"], [[name]])]).encode().decode()
    assert "\x1b" not in made and "<b>" not in made


@pytest.mark.parametrize("name", NAMES)
def test_a_run_on_any_name(microzone: Microzone, name: str) -> None:
    path, out = Path(f"{name}.npz"), Path(f"r-{name}.npz")
    for each in (path, out):
        each.parent.mkdir(parents=True, exist_ok=True)
    Events(np.array([10]), np.array([20]), 100).save(path)
    done = microzone("run", path, "--model", "float", "--out", out)
    assert done.status == 0, done.err
    assert Result.load(out).w.size == 100
    assert done.out.rstrip("\n").endswith(f"written to {shown(str(out))}") and done.out.count("\n") == 1
    done = microzone("run", path, "--model", "float", "--out", out, "--json")
    assert json.loads(done.out)["out"] == str(out)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_detect_on_any_name(microzone: Microzone, name: str) -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(0, 200, 20000).astype(np.int16)
    samples[::5000] += 6000
    scipy.io.savemat("x.mat", {"HIGH": samples})
    Path(f"{name}.mat").parent.mkdir(parents=True, exist_ok=True)
    Path("x.mat").rename(f"{name}.mat")
    given = (
        f"{name}.mat",
        "--channel",
        "HIGH",
        "--rate",
        "25000",
        "--out",
        "e.npz",
        "--figure",
        f"{name}.png",
    )
    done = microzone("detect", *given)
    assert done.status == 0, done.err
    assert Path(f"{name}.png").stat().st_size and Path("e.npz").stat().st_size
    missing = microzone("detect", f"{name}.mat", "--channel", name, "--rate", "25000", "--out", "f.npz")
    assert missing.status == 2 and missing.err.count("\n") == 1
    assert not any(ord(letter) < 32 for letter in missing.err[:-1])


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_nothing_is_lost_where_letters_are_lacking(tmp_path: Path, encoding: str) -> None:
    """The result is whole, and the line says what it can."""
    path = tmp_path / "δ猫.npz"
    Events(np.array([10]), np.array([20]), 100).save(path)
    environment = os.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    command = [sys.executable, "-m", "microzone.tools.cli.main", "run", str(path), "--model", "float"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "r-δ.npz")], capture_output=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr and b"written to" in done.stdout
    assert Result.load(tmp_path / "r-δ.npz").w.size == 100


def test_no_import_changes_what_others_print() -> None:
    """A library of the register map wraps both streams when it is imported; not for long."""
    script = (
        "import sys; before = sys.stdout, sys.stderr\n"
        "import microzone.gateware.registers.map\n"
        "assert (sys.stdout, sys.stderr) == before\n"
        "print('\\x1b[31mred')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "\x1b[31mred\n"


def test_a_test_that_markup_would_fail() -> None:
    """What the consoles of before made of a name."""
    stream = io.StringIO()
    Console(file=stream, soft_wrap=True).print("o[red]x")
    assert stream.getvalue() == "ox\n"
