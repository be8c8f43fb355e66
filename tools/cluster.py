"""Work on several processes or machines by Dask: chunks in, results out as they come."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

from ..golden_model.provenance import Provenance, module_name, provenance, whole_package
from .errors import UserError

__all__ = ["Run", "check_where", "cluster"]

Chunk = TypeVar("Chunk")
Answer = TypeVar("Answer")

ALLOWED_FAILURES = 10
"""A chunk whose worker was killed so often and once more is given up: it may be what kills them."""
_CONNECT_S = 10
"""How long a scheduler is waited for, and then its first worker."""
_ADDRESS = re.compile(r"((tcp|tls|ws|wss)://)?[^\s/]+:\d{1,5}")
"""Others are better refused here: Dask's client waits for them in vain while it closes."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_LOGGERS = ("distributed", "tornado")
_IGNORE_SIGINT = "import signal; signal.signal(signal.SIGINT, lambda *_: None)"
"""Ctrl-C reaches all processes: this one ends the workers, and programs that they run end by themselves."""


class Run(Protocol):
    """What :func:`cluster` yields."""

    def map(
        self, function: Callable[[Chunk], Answer], chunks: Sequence[Chunk]
    ) -> Iterator[tuple[int, Answer]]:
        """(index of the chunk, result) of each, in the order in which they are finished.

        Parameters
        ----------
        function : callable
            Of a module that the workers can import, or picklable by value; it may run more than once for a
            chunk, so that its answer should depend on nothing else.
        chunks : sequence
            Picklable.

        Raises
        ------
        UserError
            If the scheduler is lost, the workers have another version of microzone, or a chunk has ended
            all workers that tried it.
        Exception
            Whatever `function` raises.
        """
        ...  # pragma: no cover


class _Here:
    """One chunk after the other, in this process."""

    def map(
        self, function: Callable[[Chunk], Answer], chunks: Sequence[Chunk]
    ) -> Iterator[tuple[int, Answer]]:
        for index, chunk in enumerate(chunks):
            yield index, function(chunk)


class _Dask:
    """Chunks on the workers of a Dask scheduler."""

    def __init__(self, client: Any, name: str) -> None:
        self._client, self._name = client, name

    def map(
        self, function: Callable[[Chunk], Answer], chunks: Sequence[Chunk]
    ) -> Iterator[tuple[int, Answer]]:
        from distributed import KilledWorker, as_completed

        work = partial(_work, function, _provenance(function))
        futures = self._client.map(work, list(chunks), pure=False, key="microzone")
        index = {future.key: i for i, future in enumerate(futures)}
        try:
            for future in as_completed(futures, loop=self._client.loop):
                try:
                    answer = future.result()
                except KilledWorker as error:
                    raise UserError(
                        f"{self._name}: chunk {index[future.key]} was given up, {error.allowed_failures + 1} "
                        "workers were killed while they worked on it (out of memory?)"
                    ) from None
                except CancelledError:
                    raise UserError(f"{self._name}: lost while it worked") from None
                except (ModuleNotFoundError, RuntimeError) as error:
                    missing = error.__cause__ if isinstance(error, RuntimeError) else error
                    if not isinstance(missing, ModuleNotFoundError):
                        raise
                    raise UserError(
                        f"{self._name}: scheduler or worker has no module {missing.name!r}; start both where "
                        "this microzone is installed"
                    ) from None
                yield index[future.key], answer
                future.release()
        finally:
            self._client.cancel(futures)


def check_where(scheduler: str | None, workers: int | None) -> None:
    """UserError if both are given: a scheduler has workers of its own."""
    if scheduler is not None and workers is not None:
        raise UserError("--workers: those of --scheduler are its own")


@contextmanager
def cluster(scheduler: str | None = None, workers: int | None = None) -> Iterator[Run]:
    """Workers for as long as the block lasts.

    Parameters
    ----------
    scheduler : str, optional
        Address of a Dask scheduler, such as ``tcp://host:8786``. Else a cluster of processes on this machine.
    workers : int, optional
        Processes of that local cluster, each of one thread; else one a core. 0 works in this process.

    Yields
    ------
    Run
        Its ``map`` gives the same results for any number of workers. A worker that is killed loses nothing:
        its chunk goes to another one, and a local worker is replaced.

    Raises
    ------
    UserError
        If the scheduler cannot be reached or has no worker, or `workers` are given beside it.
    """
    check_where(scheduler, workers)
    if scheduler is None and workers == 0:
        yield _Here()
        return
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        client = (
            stack.enter_context(_local(_cores() if workers is None else workers))
            if scheduler is None
            else stack.enter_context(_remote(scheduler))
        )
        yield _Dask(client, scheduler or "local cluster")


@contextmanager
def _local(workers: int) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    if workers < 1:
        raise UserError(f"workers = {workers}: limit is 0")
    settings = {
        "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(_THREADS, 1),
        "distributed.worker.preload": [_IGNORE_SIGINT],
    }
    with (
        tempfile.TemporaryDirectory(prefix="microzone-") as folder,
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, memory_limit=None, local_directory=folder,
            dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False},  # or else port 8787
            silence_logs=logging.CRITICAL,
        ) as local,
        Client(local) as client,
    ):  # fmt: skip
        yield client


@contextmanager
def _remote(scheduler: str) -> Iterator[Any]:
    from distributed import Client

    if _ADDRESS.fullmatch(scheduler) is None:
        raise UserError(f"scheduler {scheduler}: is no address such as tcp://host:8786")
    try:
        client = Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"scheduler {scheduler}: cannot be reached: {error}") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_CONNECT_S)
        except TimeoutError:
            raise UserError(
                f"scheduler {scheduler}: has no worker; start `dask worker {scheduler}`"
            ) from None
        yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """No log lines of Dask's: what matters is raised."""
    import distributed  # noqa: F401 - it sets up its loggers, each with a level of its own

    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in _LOGGERS]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _provenance(function: Callable[..., Any]) -> Provenance:
    """What a function's answers depend on: its sources; for a function of a user's own, all of microzone."""
    own = module_name(function).partition(".")[0] == __package__.partition(".")[0]
    return provenance(function) if own else whole_package()


def _work(function: Callable[[Chunk], Answer], theirs: Provenance, chunk: Chunk) -> Answer:
    """On a worker, which may be on a machine with other sources: one chunk, by one thread."""
    import numba

    here = theirs.here()
    if here != theirs:
        raise UserError(f"a worker has another version: {here.difference(theirs)}")
    numba.set_num_threads(1)  # a worker of another machine may have been started with more
    return function(chunk)
