"""Programs that the package starts: their environment, how they end, and where their files are meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from microzone.gateware import scratch as scratch_module
from microzone.gateware.kept import cache_folder, kept_folder, kept_text, prune, size_of
from microzone.gateware.processes import PASSED, environment, only_environment, run
from microzone.gateware.scratch import LOCK, Scratch, sweep
from microzone.gateware.toolchain import ToolError, tool_version

HOSTILE = {
    "COCOTB_TEST_FILTER": "latency", "COCOTB_RANDOM_SEED": "42", "COCOTB_RESOLVE_X": "ZEROS", "WAVES": "1",
    "PYTHONOPTIMIZE": "1", "MAKEFLAGS": "-n", "CXXFLAGS": "-DWRONG", "CXX": "false", "VERILATOR_ROOT": "/x",
    "SIM_CMD_PREFIX": "echo", "LD_PRELOAD": "", "GPI_USERS": "x", "PYTHONPATH": "/x",
}  # fmt: skip


def until(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether something comes true in time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


# --- environment --------------------------------------------------------------------------------


def test_a_program_sees_what_may_pass_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    printed = run(["env", "-0"]).stdout
    names = {line.partition("=")[0] for line in printed.split("\0") if line}
    assert names <= {*PASSED} and "PATH" in names
    assert not names & HOSTILE.keys()


def test_what_is_given_wins_over_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "user")
    monkeypatch.setenv("TZ", "user")
    made = environment(LANG="given", TZ=None, OTHER="1")
    assert (made["LANG"], made["OTHER"]) == ("given", "1") and "TZ" not in made


def test_a_library_has_the_same_environment_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COCOTB_TEST_FILTER", "latency")
    before = dict(os.environ)
    with pytest.raises(RuntimeError), only_environment(GIVEN="1"):
        assert os.environ["GIVEN"] == "1" and "COCOTB_TEST_FILTER" not in os.environ
        raise RuntimeError
    assert dict(os.environ) == before


def test_all_caches_are_under_one_variable(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YOWASP_CACHE_DIR")
    assert environment()["YOWASP_CACHE_DIR"] == str(own_cache / "yowasp")
    monkeypatch.setenv("YOWASP_CACHE_DIR", "/chosen")
    assert environment()["YOWASP_CACHE_DIR"] == "/chosen"


def test_no_version_is_read_out_of_a_traceback(tmp_path: Path) -> None:
    for status, found in ((0, "1.25"), (1, "")):
        tool = tmp_path / f"tool{status}"
        tool.write_text(f"#!/bin/sh\necho 'line 1.25, in f'\nexit {status}\n")
        tool.chmod(0o755)
        assert tool_version(str(tool)) == found
    with pytest.raises(ToolError, match="nowhere: cannot be run: No such file"):
        tool_version("/nowhere")


def test_amaranth_finds_yosys_by_itself() -> None:
    code = (
        "from amaranth.back import verilog; from microzone.gateware import Microcircuit;"
        "from microzone.golden_model import ChipConfig;"
        "print(verilog.convert(Microcircuit(ChipConfig.make(), 1), name='core').count('endmodule'))"
    )
    given = {name: value for name, value in os.environ.items() if name != "YOSYS"}
    done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True)
    assert done.returncode == 0 and int(done.stdout) > 1, done.stderr


# --- folders for a while ------------------------------------------------------------------------


def test_a_folder_is_gone_afterwards_even_if_something_fails() -> None:
    with pytest.raises(RuntimeError), Scratch() as folder:
        (folder / "file").write_text("x")
        raise RuntimeError
    assert not folder.exists()


def test_what_a_killed_run_has_left_goes_and_what_is_in_use_stays(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from microzone.gateware.scratch import Scratch\n"
        f"s = Scratch(Path({str(tmp_path)!r})); (s.path / 'big').write_text('x'); print(s.path, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        sweep(tmp_path)
        assert (left / "big").is_file()
        process.kill()
        process.wait()
    assert (left / "big").is_file()
    sweep(tmp_path)
    assert not left.exists()


def test_only_what_is_ours_is_swept(tmp_path: Path) -> None:
    mine = tmp_path / "microzone-results"
    mine.mkdir()
    (mine / "result.npz").write_text("x")
    (tmp_path / "microzone-link").symlink_to(mine)
    sweep(tmp_path)
    assert (mine / "result.npz").is_file()


def test_a_start_sweeps_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / "microzone-left"
    left.mkdir()
    (left / LOCK).touch()
    monkeypatch.setattr(scratch_module, "_swept", set())
    with Scratch(tmp_path):
        assert not left.exists()


def test_no_place_for_files_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(ToolError, match=r"no folder for temporary files: No such file .* with TMPDIR"):
        Scratch()


def test_no_place_in_the_cache_names_the_variable_of_the_cache(tmp_path: Path) -> None:
    with pytest.raises(
        ToolError, match=r"temporary files in .*nowhere: No such file .* with MICROZONE_CACHE"
    ):
        Scratch(tmp_path / "nowhere")


# --- what is kept -------------------------------------------------------------------------------


def made_folder(count: list[int]) -> Path:
    def make(folder: Path) -> None:
        count.append(1)
        (folder / "deep").mkdir()
        (folder / "deep" / "program").write_bytes(b"program")
        (folder / "log").write_bytes(b"log")

    return kept_folder("thing", "0" * 64, make)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, 3),
    "empty": lambda path: os.truncate(path, 0),
    "missing": lambda path: path.unlink(),
    "a bit flipped": lambda path: path.write_bytes(b"q" + path.read_bytes()[1:]),
    "grown": lambda path: path.write_bytes(path.read_bytes() + b"x"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("what", ["deep/program", "contents.json"])
def test_a_damaged_folder_is_made_again(own_cache: Path, damage: str, what: str) -> None:
    count: list[int] = []
    folder = made_folder(count)
    assert made_folder(count) == folder and len(count) == 1
    DAMAGE[damage](folder / what)
    assert made_folder(count) == folder and len(count) == 2
    assert (folder / "deep" / "program").read_bytes() == b"program"
    assert {path.name for path in own_cache.iterdir()} == {folder.name}


def test_what_several_make_at_once_is_never_taken_away(own_cache: Path) -> None:
    """Who has been given a folder finds its files in it, whatever others do."""
    code = (
        "from microzone.gateware.kept import kept_folder\n"
        "for key in range(60):\n"
        "    made = kept_folder('thing', f'{key:020x}', lambda folder: (folder / 'program').write_text('x'))\n"
        "    assert (made / 'program').read_text() == 'x'\n"
    )
    runs_at_once = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)]
    complaints = [process.communicate()[1].decode() for process in runs_at_once]
    assert not any(complaints), complaints


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_text_is_made_again(own_cache: Path, damage: str) -> None:
    texts = iter(("module a; endmodule\n", "module b; endmodule\n", "module c; endmodule\n"))
    for _ in range(2):
        assert kept_text("core", "1" * 64, lambda: next(texts)) == "module a; endmodule\n"
    DAMAGE[damage](next(own_cache.glob("core-*.sv")))
    for _ in range(2):
        assert kept_text("core", "1" * 64, lambda: next(texts)) == "module b; endmodule\n"


def test_what_fails_to_be_made_leaves_nothing(own_cache: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise ToolError("no")

    with pytest.raises(ToolError, match="no"):
        kept_folder("thing", "0" * 64, make)
    assert not list(own_cache.iterdir())


def test_a_cache_is_for_one_user(own_cache: Path) -> None:
    assert cache_folder().stat().st_mode & 0o777 == 0o700
    own_cache.chmod(0o777)
    with pytest.raises(ToolError, match="others may write to it, and what it holds is run"):
        cache_folder()


def test_without_a_home_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MICROZONE_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: f"~/.cache/{name}")
    with pytest.raises(ToolError, match=r"no home folder, .* with MICROZONE_CACHE"):
        cache_folder()


def test_pruning_empties_the_cache_and_leaves_other_files(own_cache: Path) -> None:
    folder = made_folder([])
    kept_text("core", "1" * 64, lambda: "module a; endmodule\n")
    (own_cache / "numba-0123456789abcdef0123").mkdir()
    held = size_of(own_cache)
    (own_cache / "mine").mkdir()
    (own_cache / "mine.sv").touch()
    assert prune() == (own_cache, held) and not folder.exists()
    assert {path.name for path in own_cache.iterdir()} == {"mine", "mine.sv"}


# --- signals ------------------------------------------------------------------------------------

ENDLESS = """
import subprocess, sys
from microzone.gateware import processes
from microzone.gateware.scratch import Scratch
from microzone.tools.cli import main

def endless():
    with Scratch() as folder:
        # As a compiler below make: a grandchild that nobody waits for, and that ignores what is polite.
        child = "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);" \\
            "subprocess.run([sys.executable, '-c', 'import time; time.sleep(100)'], check=False)"
        print(folder, flush=True)
        processes.run([sys.executable, "-c", child])

main.app.command()(endless)
main.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_that_runs_and_leaves_no_file(number: signal.Signals, tmp_path: Path) -> None:
    given = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, "endless"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=given,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir() and until(lambda: len(below(process.pid)) == 2)
        programs = below(process.pid)
        process.send_signal(number)
        assert process.wait(timeout=20) == 128 + number
        assert process.stderr.read() == "error: interrupted\n"
    assert not folder.exists() and not any(map(runs, programs))


def test_what_cleans_up_behind_processes_is_left_to_end_by_itself() -> None:
    code = (
        "import subprocess; from multiprocessing import resource_tracker as tracker\n"
        "from microzone.gateware.processes import end_descendants\n"
        "tracker.ensure_running(); other = subprocess.Popen(['sleep', '100'])\n"
        "end_descendants(); assert other.wait() == -15\n"
        "import os; os.kill(tracker._resource_tracker._pid, 0); tracker.ensure_running()\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


def below(pid: int) -> list[int]:
    """Processes that a process has started, and those that these have started."""
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    own = [int(child) for child in tasks.read_text().split()] if tasks.exists() else []
    return own + [deeper for child in own for deeper in below(child)]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
