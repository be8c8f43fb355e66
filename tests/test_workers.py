"""Processes of this machine: out of reach of others, complete, and gone when their caller is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import doors
import pytest
from microzone.tools.workers import Workers

SLEEPS = """
import subprocess, sys, tempfile
from microzone.tools.cluster import cluster

def work(chunk):
    # As a synthesis: a program of another's, and a folder while it runs; and one that nobody waits for.
    with tempfile.TemporaryDirectory(dir=sys.argv[1]):
        subprocess.Popen(["sleep", "1000"], process_group=0)
        subprocess.run(["sleep", "1000"])

if __name__ == "__main__":
    print("begins", flush=True)
    with cluster(workers=2) as run:
        list(run.map(work, range(4)))
"""


@contextmanager
def running(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The program above in a session of its own, and the folder in which its workers work."""
    program, kept = folder / "program.py", folder / "kept"
    program.write_text(SLEEPS)
    kept.mkdir()
    with subprocess.Popen(
        [sys.executable, program, kept], start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None and process.stdout.readline() == "begins\n"
            yield process, kept
        finally:
            for pid in of_session(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def of_session(session: int) -> list[int]:
    """Living processes of a session."""
    listed = subprocess.run(["ps", "-eo", "sid=,stat=,pid="], capture_output=True, text=True, check=True)
    rows = (line.split() for line in listed.stdout.splitlines())
    return [int(pid) for sid, state, pid in rows if int(sid) == session and not state.startswith("Z")]


def wait_for(condition: object, seconds: float = 60) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.05)


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    with running(tmp_path) as (process, kept):
        wait_for(lambda: len(list(kept.iterdir())) == 2)
        yield process, kept


# --- who can reach them -------------------------------------------------------------------------


def test_no_process_takes_connections(at_work: tuple[subprocess.Popen[str], Path]) -> None:
    tree = doors.descendants(at_work[0].pid)
    assert len(tree) >= 5  # the caller, two workers, their programs
    assert doors.doors(tree) == []


def test_sockets_that_take_connections_are_found() -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster:
        found = doors.doors([os.getpid()])
        assert ("tcp", ("127.0.0.1", int(cluster.scheduler_address.rpartition(":")[2]))) in found
        assert doors.opened(found, [])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_user_gets_nowhere(at_work: tuple[subprocess.Popen[str], Path]) -> None:
    tree = doors.descendants(at_work[0].pid)
    found = doors.doors(tree)
    assert doors.as_another_user(lambda: doors.opened(found, tree)) == []
    assert doors.opened(found, tree), "root gets in, so that the attempt is a real one"


# --- how they end -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_workers_and_their_programs_end_with_the_caller(
    at_work: tuple[subprocess.Popen[str], Path], how: signal.Signals
) -> None:
    process, kept = at_work
    process.send_signal(how)
    _, complaints = process.communicate(timeout=60)
    assert process.returncode == -how
    wait_for(lambda: not of_session(process.pid), 10)
    assert not list(kept.iterdir()), "temporary folders are left"
    assert complaints.count("\nKeyboardInterrupt\n") == (how == signal.SIGINT), complaints  # the caller's own
    assert "_serve" not in complaints


@pytest.mark.parametrize("seconds", [0, 0.2, 0.4, 0.8])
def test_ctrl_c_while_workers_start(tmp_path: Path, seconds: float) -> None:
    with running(tmp_path) as (process, _):
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
        assert complaints.count("\nKeyboardInterrupt\n") == 1 and complaints.endswith("\nKeyboardInterrupt\n")
        assert "_serve" not in complaints and "spawn_main" not in complaints, "a worker complains, too"
        wait_for(lambda: not of_session(process.pid), 10)


def test_ctrl_c_of_a_verb_is_one_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["sweep", "--no-synthesis", "--workers", "2", "--sessions", "2000", "--out", out]
    with subprocess.Popen(
        [sys.executable, "-m", "microzone.tools.cli.main", *command],
        start_new_session=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        wait_for(lambda: list(out.glob("parts/*.parquet")))
        os.killpg(process.pid, signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (130, "error: interrupted\n")
    wait_for(lambda: not of_session(process.pid), 10)
    assert not list(out.glob("parts/.*"))


def test_what_is_not_wanted_any_more_is_ended() -> None:
    with closing(Workers(2, "here", allowed_failures=0)) as workers:
        work = workers.map(time.sleep, [0, 1000])
        assert next(work) == (0, None)
        work.close()
        assert dict(workers.map(abs, [-1, -2])) == {0: 1, 1: 2}


# --- what they are sent -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with closing(Workers(2, "here", allowed_failures=0)) as two:
        yield two


def test_large_chunks_and_answers(workers: Workers) -> None:
    chunks = [bytes([each]) * 5_000_000 for each in range(6)]
    assert [answer for _, answer in sorted(workers.map(bytes.swapcase, chunks))] == [
        chunk.swapcase() for chunk in chunks
    ]


def test_a_function_of_the_script(workers: Workers) -> None:
    offset = 5
    assert dict(workers.map(lambda chunk: chunk + offset, range(3))) == {0: 5, 1: 6, 2: 7}


def test_no_chunk_needs_no_worker() -> None:
    with closing(Workers(2, "here", allowed_failures=0)) as workers:
        assert list(workers.map(abs, [])) == [] and not workers._all


class TwoReasons(Exception):
    """One that pickle cannot make again."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def two_reasons(chunk: int) -> None:
    raise TwoReasons("heat", "noise")


def test_an_error_tells_where_it_was(workers: Workers) -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        list(workers.map(divmod_of, [0]))
    assert "in divmod_of" in raised.value.__notes__[0]
    with pytest.raises(RuntimeError, match=r"^TwoReasons: heat and noise\n") as plain:
        list(workers.map(two_reasons, [0]))
    assert "in two_reasons" in plain.value.__notes__[0]


def divmod_of(chunk: int) -> tuple[int, int]:
    return divmod(1, chunk)


def test_a_worker_that_is_killed_while_idle_is_replaced(workers: Workers) -> None:
    pids = {pid for _, pid in workers.map(of_process, range(4))}
    os.kill(pids.pop(), signal.SIGKILL)
    with closing(Workers(2, "here", allowed_failures=1)) as others:
        pid = next(iter(others.map(of_process, [0])))[1]
        os.kill(pid, signal.SIGKILL)
        assert len(list(others.map(of_process, range(4)))) == 4


def of_process(chunk: int) -> int:
    return os.getpid()


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from microzone.tools.workers import Workers\n"
        "print(list(Workers(1, 'here', allowed_failures=3).map(abs, [1])))\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "microzone.tools.errors.UserError: here: a worker ended" in done.stderr
