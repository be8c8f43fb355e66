"""Chunks on the workers of Dask: complete, the same for any number, in one line where it cannot be."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from microzone.golden_model import ConfigError
from microzone.golden_model.provenance import Provenance, whole_package
from microzone.tools import cluster as module
from microzone.tools.cluster import Run, cluster
from microzone.tools.errors import UserError

CHUNKS = range(12)


def cube(chunk: int) -> tuple[int, int]:
    time.sleep(0.05)
    return chunk**3, os.getpid()


def numba_threads(_: int) -> int:
    import numba

    return int(numba.get_num_threads())


def threads(chunk: int) -> tuple[int, str]:
    return numba_threads(chunk), os.environ["OPENBLAS_NUM_THREADS"]


def refuse(chunk: int) -> int:
    if chunk == 3:
        raise ConfigError("chunk 3: refused")
    return chunk


def die(chunk: int) -> None:
    os._exit(1)


def absent(chunk: int) -> None:
    raise ModuleNotFoundError("No module named 'nowhere'", name="nowhere")


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Run]:
    with cluster(workers=2) as run:
        yield run


def cubes(run: Run) -> list[int]:
    found = dict(run.map(cube, CHUNKS))
    return [found[index][0] for index in sorted(found)]


def test_every_chunk_once_and_by_its_index(two_workers: Run) -> None:
    found = list(two_workers.map(cube, CHUNKS))
    assert sorted(index for index, _ in found) == list(CHUNKS)
    assert all(answer[0] == index**3 for index, answer in found)
    pids = {pid for _, (_, pid) in found}
    assert len(pids) == 2 and os.getpid() not in pids


def test_in_this_process_with_no_worker() -> None:
    with cluster(workers=0) as run:
        assert dict(run.map(cube, CHUNKS)) == {i: (i**3, os.getpid()) for i in CHUNKS}


def test_a_worker_computes_by_one_thread(two_workers: Run) -> None:
    assert dict(two_workers.map(threads, [0]))[0] == (1, "1")


def test_the_error_of_a_chunk_arrives_as_it_is(two_workers: Run) -> None:
    with pytest.raises(ConfigError, match="chunk 3: refused"):
        list(two_workers.map(refuse, CHUNKS))
    assert cubes(two_workers) == [i**3 for i in CHUNKS]  # and the workers go on


def test_workers_of_another_version_are_refused(two_workers: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    here = whole_package()
    other = Provenance({**here.sources, "gateware/chip.py": "0"}, {**here.versions, "numpy": "0.1"})
    monkeypatch.setattr(module, "whole_package", lambda: other)
    with pytest.raises(
        UserError,
        match=r"a worker has another version: another gateware/chip\.py; numpy \d\S* instead of 0\.1$",
    ):
        list(two_workers.map(cube, CHUNKS))
    monkeypatch.undo()
    assert cubes(two_workers) == [i**3 for i in CHUNKS]


def test_what_a_worker_has_not_installed_is_named(two_workers: Run) -> None:
    with pytest.raises(UserError, match="local cluster: scheduler or worker has no module 'nowhere'"):
        list(two_workers.map(absent, [0]))


def test_a_killed_worker_loses_nothing() -> None:
    with cluster(workers=2) as run:
        found: dict[int, int] = {}
        killed = 0
        for index, (answer, pid) in run.map(cube, range(40)):
            found[index] = answer
            if len(found) in (3, 20):
                os.kill(pid, signal.SIGKILL)
                killed += 1
    assert killed == 2
    assert found == {i: i**3 for i in range(40)}


def test_a_chunk_that_kills_its_workers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALLOWED_FAILURES", 0)
    with (
        cluster(workers=1) as run,
        pytest.raises(UserError, match="chunk 0 was given up, 1 workers were killed"),
    ):
        list(run.map(die, [0]))


def test_a_scheduler_has_workers_of_its_own() -> None:
    with pytest.raises(UserError, match="--workers: those of --scheduler"), cluster("tcp://nowhere:1", 2):
        pytest.fail("began")


def test_the_workers_of_another_scheduler_are_used() -> None:
    from distributed import LocalCluster

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as elsewhere,
        cluster(elsewhere.scheduler_address) as run,
    ):
        assert cubes(run) == [i**3 for i in CHUNKS]
        assert dict(run.map(numba_threads, [0])) == {0: 1}  # though that worker was started with more


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("tcp://127.0.0.1:9", "scheduler tcp://127.0.0.1:9: cannot be reached"),
        ("nonsense", "scheduler nonsense: is no address such as tcp://host:8786"),
        ("foo://x:1", "scheduler foo://x:1: is no address"),
    ],
)
def test_a_scheduler_that_is_not_there(address: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CONNECT_S", 0.5)
    with pytest.raises(UserError, match=message) as refused, cluster(address):
        pass
    assert "\n" not in str(refused.value)


def test_a_scheduler_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(module, "_CONNECT_S", 0.5)
    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", silence_logs=50) as elsewhere:
        address = elsewhere.scheduler_address
        with pytest.raises(UserError, match="has no worker; start `dask worker tcp://"), cluster(address):
            pass


def test_too_few_workers() -> None:
    with pytest.raises(UserError, match="workers = -1: limit is 0"), cluster(workers=-1):
        pass


PROGRAM = """
import sys, time
from microzone.tools.cluster import cluster

def nap(chunk):
    time.sleep(0.2)
    return chunk

if __name__ == "__main__":
    with cluster(workers=2) as run:
        for index, answer in run.map(nap, range(1000)):
            print(index, flush=True)
"""


def test_ctrl_c_ends_everything_quietly(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, program], start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGINT
    assert complaints.count("Traceback") == 1 and complaints.rstrip().endswith("KeyboardInterrupt"), (
        complaints
    )
    assert not living(process.pid), "workers are left"


def living(group: int) -> list[str]:
    """Processes of a group, but those that only wait to be taken note of; after a moment to end."""
    for _ in range(20):
        listed = subprocess.run(
            ["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True
        )
        rows = (line.split(None, 2) for line in listed.stdout.splitlines())
        left = [" ".join(row) for row in rows if int(row[0]) == group and not row[1].startswith("Z")]
        if not left:
            break
        time.sleep(0.25)
    return left


def test_nothing_is_left_behind() -> None:
    before = set(multiprocessing.active_children())
    with cluster(workers=1) as run:
        assert dict(run.map(cube, [2]))[0][0] == 8
        assert set(multiprocessing.active_children()) - before
    assert not set(multiprocessing.active_children()) - before
