"""What ends a program that has a simulated chip: Ctrl-C at a terminal, a signal, a terminal that is closed."""

from __future__ import annotations

import errno
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
from microzone.golden_model import ChipConfig, Events
from microzone.golden_model.files import FileError
from microzone.sim.build.piped import PipedProgram
from microzone.sim.failure import BenchFailure
from microzone.sim.loop import simulated_board
from microzone.sim.loop.closed_loop import with_slowest_clock
from microzone.sim.loop.simulated_board import SimulatedBoard
from microzone.tools.cli import main as cli
from microzone.tools.cli.options import console
from microzone.tools.host.conversion import check_free, convert
from microzone.tools.host.journal import JOURNAL
from microzone.tools.host.stopping import Stop, stop_on_signals

PATIENCE_S = 120.0
SIMULATED = ("--simulated", "--paired", "100", "--iti", "0.6", "0.7")


@pytest.fixture(autouse=True, scope="module")
def built_once() -> Iterator[None]:
    """The gateware is elaborated and compiled here; the processes of the tests are forked."""
    with mock.patch.object(simulated_board, "board_design", cache(simulated_board.board_design)):
        SimulatedBoard(with_slowest_clock(ChipConfig.make())).close()
        yield


class Terminal:
    """The command line in a terminal of its own; the terminal's process group is the command's."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.said = b""
        self.pid, self.terminal = pty.fork()
        if not self.pid:
            status = 99
            termios.tcsetwinsize(0, (40, 160))
            console.is_interactive = True  # it was made under pytest, which is no terminal
            try:
                os.chdir(folder)
                sys.argv = ["microzone", *arguments]
                sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
                cli.main()
            except SystemExit as ended:
                status = int(ended.code or 0)
                with suppress(OSError):
                    sys.stdout.flush()
                    sys.stderr.flush()
            finally:
                os._exit(status)

    def listen(self, seconds: float = 0.05) -> bool:
        """Read what it says; False once the terminal has nobody on the other side."""
        if select.select([self.terminal], [], [], seconds)[0]:
            try:
                said = os.read(self.terminal, 1 << 16)
            except OSError as error:
                assert error.errno == errno.EIO
                return False
            self.said += said
            return bool(said)
        return True

    def wait_for(self, what: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not what():
            assert self.listen() and time.monotonic() < end, self.said.decode(errors="replace")[-500:]

    def children(self) -> list[int]:
        """Processes that it has started."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[1]) == self.pid:
                    found.append(int(stat.parent.name))
        return found

    def status(self) -> int:
        """How it has ended."""
        end = time.monotonic() + PATIENCE_S
        while self.terminal is not None and self.listen():
            assert time.monotonic() < end, self.said.decode(errors="replace")[-500:]
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def is_over(pid: int) -> bool:
    """Whether a process has ended; it may be somebody's to bury."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until_over(pids: list[int]) -> None:
    assert pids, "there was a simulation"
    end = time.monotonic() + 20
    while not all(is_over(pid) for pid in pids):
        assert time.monotonic() < end, "a simulation runs on"
        time.sleep(0.02)


def recording(folder: Path) -> tuple[Terminal, list[int]]:
    """A recording that has some seconds, and the processes of its simulation."""
    terminal = Terminal(folder, "host", "record", *SIMULATED, "--out", "rec")
    journal = folder / "rec" / JOURNAL
    terminal.wait_for(journal.exists)
    size = journal.stat().st_size
    terminal.wait_for(lambda: journal.stat().st_size > size + 800)
    return terminal, terminal.children()


def interrupt(terminal: Terminal) -> None:
    os.write(terminal.terminal, b"\x03")


def to_the_group(number: signal.Signals) -> Callable[[Terminal], None]:
    return lambda terminal: os.killpg(terminal.pid, number)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        pytest.param(interrupt, 0, id="Ctrl-C"),
        pytest.param(to_the_group(signal.SIGINT), 0, id="SIGINT", marks=pytest.mark.slow),
        pytest.param(to_the_group(signal.SIGTERM), 143, id="SIGTERM"),
        pytest.param(to_the_group(signal.SIGHUP), 129, id="SIGHUP", marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_a_recording_that_is_whole(
    tmp_path: Path, end: Callable[[Terminal], None], status: int
) -> None:
    terminal, simulation = recording(tmp_path)
    end(terminal)
    assert terminal.status() == status, terminal.said.decode(errors="replace")[-500:]
    wait_until_over(simulation)
    check_free(tmp_path / "rec", overwrite=True)  # no journal is left
    assert Events.load(tmp_path / "rec/events.npz").n_steps > 100
    assert b"written to rec/" in terminal.said and b"not complete" not in terminal.said


def test_a_terminal_that_is_closed_ends_a_recording_that_is_whole(tmp_path: Path) -> None:
    terminal, simulation = recording(tmp_path)
    os.close(terminal.terminal)
    os.waitpid(terminal.pid, 0)
    wait_until_over(simulation)
    check_free(tmp_path / "rec", overwrite=True)
    assert '"complete": true' in (tmp_path / "rec/report.json").read_text()


def test_what_kills_a_recording_ends_the_simulation_and_leaves_the_journal(tmp_path: Path) -> None:
    terminal, simulation = recording(tmp_path)
    os.kill(terminal.pid, signal.SIGKILL)
    assert terminal.status() == -signal.SIGKILL
    wait_until_over(simulation)
    with pytest.raises(FileError, match="microzone host recover"):
        check_free(tmp_path / "rec", overwrite=True)
    report = convert(tmp_path / "rec" / JOURNAL, tmp_path / "rec")
    assert report["n_steps"] > 100 and len(report["problems"]) == 2, report["problems"]


def test_a_simulation_that_ends_by_itself_leaves_a_recording(tmp_path: Path) -> None:
    terminal, simulation = recording(tmp_path)
    os.kill(simulation[0], signal.SIGKILL)
    assert terminal.status() == 1
    assert b"not complete: the simulation ended by itself" in terminal.said
    check_free(tmp_path / "rec", overwrite=True)
    assert Events.load(tmp_path / "rec/events.npz").n_steps > 100


@pytest.mark.parametrize(
    ("end", "status"),
    [pytest.param(interrupt, 0, id="Ctrl-C"), pytest.param(to_the_group(signal.SIGTERM), 143, id="SIGTERM")],
)
def test_a_signal_ends_the_monitor(tmp_path: Path, end: Callable[[Terminal], None], status: int) -> None:
    terminal = Terminal(tmp_path, "host", "monitor", "--arm", *SIMULATED)
    terminal.wait_for(lambda: b"microcircuit 0" in terminal.said)
    simulation = terminal.children()
    end(terminal)
    assert terminal.status() == status and b"error" not in terminal.said
    wait_until_over(simulation)


# --- the parts ------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from microzone.sim.build.piped import PipedProgram
from microzone.sim.failure import BenchFailure
with PipedProgram(Path(sys.argv[1])) as program:
    program.tell(b"x")
    assert program.take(1) == b"x"
    print(program._process.pid, flush=True)
    time.sleep(100)
"""


def test_a_program_ends_with_the_one_that_it_answers() -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, "/bin/cat"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert holder.stdout is not None
    program = int(holder.stdout.readline())
    assert os.getpgid(program) != os.getpgid(holder.pid)
    holder.kill()
    holder.communicate()
    wait_until_over([program])


def test_a_program_that_has_ended_is_closed_without_an_error() -> None:
    program = PipedProgram(Path("/bin/true"))
    program._process.wait()
    with pytest.raises(BenchFailure, match="the simulation ended by itself, status 0"):
        program.tell(bytes(100))
    program.close()


def test_ctrl_c_is_for_who_runs_a_program() -> None:
    with PipedProgram(Path("/bin/cat")) as program:
        assert os.getsid(program._process.pid) == program._process.pid != os.getsid(0)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_the_first_signal_is_a_wish_and_the_second_is_not(number: signal.Signals, status: int) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert stop.signal is None and stop.status == 0
        os.kill(os.getpid(), number)
        assert stop.signal is number and stop.status == status
        with pytest.raises(KeyboardInterrupt if number is signal.SIGINT else SystemExit):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_what_is_ignored_stays_ignored() -> None:
    """As under ``nohup``."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal is None and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_nothing_is_noted() -> None:
    found: list[Stop] = []

    def work() -> None:
        with stop_on_signals() as stop:
            found.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].signal is None
