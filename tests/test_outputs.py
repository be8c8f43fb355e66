"""What a run may write over: its own files only, and never what it reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from conftest import Outcome
from microzone.golden_model import ChipConfig, Events
from microzone.golden_model.files import FileError
from microzone.tools.cli import main
from microzone.tools.outputs import RECORD, Run, check_files, claimed

Microzone = Callable[..., Outcome]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A folder with a run of `compare` in it, of which only the record matters."""
    folder = tmp_path / "filled"
    with claimed(
        folder, Run("compare", ("events.npz", "config.toml", "report.json"), {"events": "../a.npz"})
    ):
        Events(np.array([10]), np.array([20]), 100).save(folder / "events.npz")
        (folder / "config.toml").write_text(ChipConfig.make().to_toml())
        (folder / "report.json").write_text("{}")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_inputs_are_never_written(microzone: Microzone, filled: Path, overwrite: list[str]) -> None:
    before = content(filled)
    done = microzone(
        "compare", filled / "events.npz", "--config", filled / "config.toml", "--out", filled, *overwrite
    )
    assert done.status == 2 and done.err.count("\n") == 1 and "is read and would be written" in done.err
    assert content(filled) == before


def test_an_input_is_known_by_any_name(tmp_path: Path) -> None:
    """As a link of either kind, and by a path through another folder."""
    source, folder = tmp_path / "source.npz", tmp_path / "out"
    source.write_bytes(b"x")
    folder.mkdir()
    for link in (lambda path: path.symlink_to(source), lambda path: path.hardlink_to(source)):
        link(folder / "events.npz")
        with (
            pytest.raises(FileError, match="is read and would be written"),
            claimed(folder, Run("compare", ("events.npz",)), inputs=[source], overwrite=True),
        ):
            pass
        with pytest.raises(FileError, match="named twice"):
            check_files([source], [folder / "events.npz"], overwrite=True)
        (folder / "events.npz").unlink()
    with pytest.raises(FileError, match="named twice"):
        check_files([source], [folder / ".." / "source.npz"])


VERBS: dict[str, tuple[list[str], str]] = {
    "demo": (["demo", "--paired", "2"], "report.json"),
    "session": (["session", "--paired", "1"], "report.json"),
    "compare": (["compare", "EVENTS"], "report.json"),
    "cfpc": (["cfpc", "pursuit", "--trials", "1", "--model", "float"], "report.json"),
    "robustness": (["cfpc", "robustness", "--trials", "1"], "robustness.json"),
    "word-lengths": (["cfpc", "word-lengths", "--trials", "1"], "word-lengths.json"),
    "build": (["build", "icebreaker"], "report.json"),
    "reproduce": (["reproduce", "4", "--no-rtl"], "figure-4.json"),
    "sweep": (["sweep", "--sessions", "2", "--workers", "0"], "report.json"),
    "infer": (["infer", "--want", "well_timed=0.4", "--simulations", "500", "--workers", "0"], "report.json"),
    "infer-compare": (
        ["infer-compare", "--draws", "50", "--sessions", "12", "--workers", "0"],
        "report.json",
    ),
    "sim": (["sim", "--waves"], "corners.vcd"),
}
"""A command of each verb that writes into a folder, and a file that it writes."""


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_writes_over_anothers_file(microzone: Microzone, tmp_path: Path, verb: str) -> None:
    """Neither of another run, nor of nobody knows what; and before any work."""
    arguments, name = VERBS[verb]
    Events(np.array([10]), np.array([20]), 100).save(tmp_path / "events.npz")
    arguments = [str(tmp_path / "events.npz") if word == "EVENTS" else word for word in arguments]
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / name).write_text("mine")
    done = microzone(*arguments, "--out", folder)
    assert done.status == 2 and done.err.count("\n") == 1, done.err
    assert f"{folder / name}: is there, and nobody knows of what run" in done.err
    assert content(folder) == {name: b"mine"}
    (folder / RECORD).write_text(json.dumps([{"command": "other", "arguments": {"a": 1}, "files": ["*"]}]))
    done = microzone(*arguments, "--out", folder)
    assert done.status == 2 and "of the run other a=1" in done.err and (folder / name).read_text() == "mine"


def test_every_verb_with_a_folder_is_among_them() -> None:
    """A new verb has the option, or has no folder."""
    group = typer.main.get_command(main.app)
    commands = [*group.commands.values(), *group.commands["cfpc"].commands.values()]
    writing = {each.name for each in commands if any(param.name == "out" for param in each.params)}
    taking = {each.name for each in commands if any(param.name == "overwrite" for param in each.params)}
    assert writing == taking >= set(VERBS) - {"cfpc"}


def test_the_same_command_again_and_another(microzone: Microzone) -> None:
    first = ["cfpc", "pursuit", "--trials", "2", "--model", "float", "--out", "o"]
    assert microzone(*first).status == 0
    before = content(Path("o"))
    again = microzone(*first, "--json")
    assert again.status == 0, again.err
    assert content(Path("o")).keys() == before.keys()
    other = microzone("cfpc", "pursuit", "--trials", "3", "--model", "float", "--out", "o")
    assert other.status == 2 and 'of the run cfpc pursuit model="float" trials=2' in other.err
    told = microzone("cfpc", "pursuit", "--trials", "3", "--model", "float", "--out", "o", "--overwrite")
    assert told.status == 0, told.err
    assert json.loads(Path("o/report.json").read_text())["trials"] == 3
    assert microzone(*first).status == 2


def test_the_folder_that_nobody_names_keeps_the_last_run(microzone: Microzone) -> None:
    assert microzone("cfpc", "pursuit", "--trials", "2", "--model", "float").err == ""
    done = microzone("cfpc", "blink", "--trials", "2", "--model", "float")
    assert done.status == 0
    assert done.err == 'cfpc-output: takes the place of the run cfpc pursuit model="float" trials=2\n'
    (run,) = json.loads(Path("cfpc-output", RECORD).read_text())
    assert run["command"] == "cfpc blink"
    named = microzone("cfpc", "pursuit", "--out", "cfpc-output")
    assert named.status == 2 and "is there, of the run cfpc blink" in named.err


def test_a_folder_moves_with_its_inputs(microzone: Microzone, tmp_path: Path) -> None:
    """The record has paths as seen from the folder."""
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "task.toml").write_text("[task]\ntrial_s = 2.0\n")
    command = ["cfpc", "pursuit", "--trials", "1", "--model", "float"]
    for place in ("here", "there"):
        here = tmp_path / place
        done = microzone(*command, "--config", here / "task.toml", "--out", here / "o")
        assert done.status == 0, done.err
        if place == "here":
            (here / "o").rename(tmp_path / "there" / "o")


def test_two_runs_share_a_folder(microzone: Microzone) -> None:
    """Where none of their files is in the other's way."""
    for _ in range(2):
        for study in ("robustness", "word-lengths"):
            done = microzone("cfpc", study, "--trials", "2", "--out", "o")
            assert done.status == 0, done.err
    assert len(json.loads(Path("o", RECORD).read_text())) == 2


def test_taking_a_place_leaves_nothing_of_before(tmp_path: Path) -> None:
    """The bitstream of another design would stay beside a report that is not its own."""
    folder = tmp_path / "build"
    with claimed(folder, Run("build", ("report.json", "chip.bin"))):
        (folder / "report.json").write_text("chip")
        (folder / "chip.bin").write_text("chip")
    (folder / "notes.txt").write_text("mine")
    cfpc = Run("build", ("report.json", "cfpc.bin"), {"design": "cfpc"})
    with claimed(folder, cfpc, overwrite=True):
        (folder / "report.json").unlink()
        (folder / "report.json").write_text("cfpc")
        (folder / "cfpc.bin").write_text("cfpc")
    assert content(folder).keys() == {"report.json", "cfpc.bin", "notes.txt", RECORD}


def test_a_failure_leaves_the_files_as_they_were(tmp_path: Path, filled: Path) -> None:
    before = content(filled)
    for folder, run in ((tmp_path / "new", Run("demo", ("x",))), (filled, Run("demo", ("report.json",)))):
        with pytest.raises(ValueError, match="no"), claimed(folder, run, overwrite=True):
            raise ValueError("no")
    assert not (tmp_path / "new").exists() and content(filled) == before


def test_a_named_file_is_replaced_unless_it_is_of_a_run(microzone: Microzone, filled: Path) -> None:
    for _ in range(2):
        assert microzone("run", filled / "events.npz", "--out", "r.npz").status == 0
    before = content(filled)
    done = microzone("calibrate", filled / "events.npz", "--out", filled / "config.toml")
    assert done.status == 2 and 'belongs to the run compare events="../a.npz"' in done.err
    assert content(filled) == before


def test_a_damaged_record_is_no_leave(microzone: Microzone, filled: Path) -> None:
    for text in ("{", "[1]", "[" * 100_000, '[{"command": 1}]'):
        (filled / RECORD).write_text(text)
        done = microzone("cfpc", "pursuit", "--out", filled)
        assert done.status == 2 and f"{RECORD}: cannot be read" in done.err, text


def test_out_without_waves_is_refused(microzone: Microzone) -> None:
    done = microzone("sim", "--out", "w")
    assert done.status == 2 and done.err == "error: --out: a folder for waves, only with --waves\n"
    assert microzone("sim", "nope", "--list").status == 2
