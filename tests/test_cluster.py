"""Chunks on workers here or of Dask: complete, the same for any number, in one line where it cannot be."""

from __future__ import annotations

import copy
import gc
import http.server
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from microzone.golden_model import ConfigError
from microzone.golden_model.provenance import Provenance, whole_package
from microzone.tools import cluster as module
from microzone.tools.cluster import Run, cluster
from microzone.tools.errors import UserError

CHUNKS = range(12)

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Dask leaves sockets that could not be used to the garbage collector."""


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """Which is called before other tests begin."""
    yield
    gc.collect()


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


VERSIONS = """
import sys
import distributed.versions
from distributed import LocalCluster

real = distributed.versions.get_package_info

def older(names):
    return real(names) | {sys.argv[1]: sys.argv[2]}

if __name__ == "__main__":
    distributed.versions.get_package_info = older
    with LocalCluster(
        n_workers=1, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0", silence_logs=50
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("distributed", "2020.1.0", r"it has distributed 2020\.1\.0 instead of 20\d\d\.\d+\.\d+; start"),
        ("python", "3.1.7.final.0", r"it has python 3\.1 instead of 3\.\d\d; start"),
    ],
)
def test_a_scheduler_of_another_version(tmp_path: Path, name: str, version: str, message: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(VERSIONS)
    with subprocess.Popen(
        [sys.executable, program, name, version], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with (
            pytest.warns(match="Mismatched versions"),
            pytest.raises(UserError, match=f"scheduler {address}: {message}"),
            cluster(address),
        ):
            pytest.fail("began")
        process.kill()


def test_what_answers_but_is_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CONNECT_S", 0.5)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,))
        thread.start()
        address = f"tcp://127.0.0.1:{server.server_port}"
        with pytest.raises(UserError, match=f"scheduler {address}: cannot be reached: \\S"), cluster(address):
            pytest.fail("began")
        server.shutdown()
        thread.join()


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


# --- certificates -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, a certificate that it signed, and one that it did not."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("pem")
    new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    for command in (
        f"req -x509 {new} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority",
        f"req {new} -keyout me.key -out me.csr -subj /CN=me",
        "x509 -req -in me.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out me.pem",
        f"req -x509 {new} -keyout other.key -out other.pem -days 2 -subj /CN=other",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    (folder / "both.pem").write_text((folder / "me.pem").read_text() + (folder / "me.key").read_text())
    (folder / "text.pem").write_text("text\n")
    return folder


@pytest.fixture(scope="module")
def encrypted(pem: Path) -> Iterator[str]:
    """The address of a scheduler that takes who has a certificate of the authority."""
    from distributed import LocalCluster
    from distributed.security import Security

    ends = {f"tls_{role}_{part}": str(pem / f"me.{suffix}") for role in ("client", "scheduler", "worker")
            for part, suffix in (("cert", "pem"), ("key", "key"))}  # fmt: skip
    security = Security(tls_ca_file=str(pem / "ca.pem"), require_encryption=True, **ends)
    with LocalCluster(
        n_workers=1, threads_per_worker=1, protocol="tls://", security=security,
        dashboard_address="127.0.0.1:0", silence_logs=50,
    ) as elsewhere:  # fmt: skip
        yield elsewhere.scheduler_address


@pytest.fixture
def dask_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was, after the test."""
    import dask
    import distributed  # noqa: F401 - it has the defaults

    monkeypatch.setitem(dask.config.config, "distributed", copy.deepcopy(dask.config.get("distributed")))


@pytest.mark.parametrize("files", [("ca.pem", "me.pem", "me.key"), ("ca.pem", "both.pem")])
@pytest.mark.usefixtures("dask_configuration")
def test_a_scheduler_with_certificates(encrypted: str, pem: Path, files: tuple[str, ...]) -> None:
    module.use_certificates(encrypted, *(pem / name for name in files))
    with cluster(encrypted) as run:
        assert cubes(run) == [i**3 for i in CHUNKS]


def test_certificates_of_dasks_own_configuration(encrypted: str, pem: Path) -> None:
    import dask

    files = {"ca-file": "ca.pem", "client.cert": "me.pem", "client.key": "me.key"}
    tls = {f"distributed.comm.tls.{name}": str(pem / file) for name, file in files.items()}
    with dask.config.set(tls), cluster(encrypted) as run:
        assert cubes(run) == [i**3 for i in CHUNKS]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "{address}: needs --tls-ca and --tls-cert, or distributed.comm.tls in Dask's configuration"),
        (["ca.pem"], "--tls-cert: is missing beside --tls-ca"),
        ([None, "me.pem", "me.key"], "--tls-ca: is missing beside --tls-cert and --tls-key"),
        (["ca.pem", "none.pem"], "--tls-cert: {pem}/none.pem: No such file or directory"),
        ([".", "me.pem", "me.key"], "--tls-ca: {pem}: Is a directory"),
        (["text.pem", "me.pem", "me.key"], "{address}: certificates {pem}/text.pem, {pem}/me.pem, {pem}/me.key: "),
        (["ca.pem", "me.pem"], "{address}: certificates {pem}/ca.pem, {pem}/me.pem: "),
        (["ca.pem", "me.pem", "other.key"], "key values mismatch"),
        (["ca.pem", "other.pem", "other.key"], "{address}: cannot be reached: "),
        (["other.pem", "me.pem", "me.key"], "{address}: cannot be reached: TLS certificate does not match"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("dask_configuration")
def test_certificates_that_do_not_do(
    encrypted: str, pem: Path, files: list[str | None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CONNECT_S", 2)
    paths = [None if name is None else pem / name for name in [*files, None, None, None][:3]]
    with pytest.raises(UserError) as refused:
        module.use_certificates(encrypted, *paths)
        with cluster(encrypted):
            pytest.fail("began")
    assert message.format(address=encrypted, pem=pem) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("dask_configuration")
def test_encryption_at_one_end_only(encrypted: str, pem: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(module, "_CONNECT_S", 2)
    plain = encrypted.replace("tls", "tcp")
    with pytest.raises(UserError, match=f"scheduler {plain}: cannot be reached: "), cluster(plain):
        pytest.fail("began")
    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", silence_logs=50) as elsewhere:
        address = elsewhere.scheduler_address.replace("tcp", "tls")
        module.use_certificates(address, pem / "ca.pem", pem / "both.pem")
        with pytest.raises(UserError, match=f"scheduler {address}: cannot be reached: "), cluster(address):
            pytest.fail("began")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tls-cert", "me.pem"], "error: --tls-cert: for a --scheduler at tls://HOST:PORT only\n"),
        (
            ["--tls-ca", "ca.pem", "--scheduler", "tcp://127.0.0.1:9"],
            "error: --tls-ca: for a --scheduler at tls://HOST:PORT only\n",
        ),
        (
            ["--tls-ca", "ca.pem", "--tls-cert", "me.pem", "--scheduler", "tls://127.0.0.1:9"],
            "error: --tls-ca: ca.pem: No such file or directory\n",
        ),
        (
            ["--scheduler", "127.0.0.1:9"],
            "warning: scheduler 127.0.0.1:9: is not encrypted; who can reach it can run code as you\n"
            "error: scheduler 127.0.0.1:9: cannot be reached: ",
        ),
    ],
)
@pytest.mark.parametrize(
    "verb",
    [
        ["sweep", "--no-synthesis", "--out", "out"],
        ["infer", "--want", "cr_rate=0.5", "--simulations", "500"],
        ["infer-compare", "--circuits", "noi-0", "--draws", "50"],
        ["reproduce", "4", "--no-rtl"],
    ],
)
def test_verbs_take_a_scheduler_with_certificates(
    microzone: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    verb: list[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(module, "_CONNECT_S", 0.5)
    done = microzone(*verb, *arguments)
    assert done.status == 2 and message in done.err
    assert done.err.count("\n") == message.count("\n") + (not message.endswith("\n"))
