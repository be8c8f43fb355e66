"""Work on several processes, or on the machines of a Dask scheduler: chunks in, results out as they come.

What workers are sent is unpickled, and so runs code. Those of this machine are at the ends of pipes, which
nobody else can reach. A scheduler can be reached by its network: ``tls://`` keeps out who has no certificate.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..golden_model.provenance import Provenance, module_name, provenance, whole_package
from .errors import UserError
from .workers import Workers

__all__ = ["Run", "check_where", "cluster", "is_encrypted", "use_certificates"]

Chunk = TypeVar("Chunk")
Answer = TypeVar("Answer")

ALLOWED_FAILURES = 10
"""A chunk whose worker was killed so often and once more is given up; a scheduler has its own limit."""
_CONNECT_S = 10
"""How long a scheduler is waited for, and then its first worker."""
_ADDRESS = re.compile(r"((tcp|tls|ws|wss)://)?[^\s/]+:\d{1,5}")
"""Other schemes run in this process, or need what is not installed."""
_LOCAL = "local cluster"
_ENCRYPTED = ("tls", "wss")
_LOGGERS = ("distributed", "tornado")
_SAME = {"python": 2, "dask": 3, "distributed": 3}
"""Parts of a version that must be the same at both ends: they exchange pickles and Dask's own messages."""


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


class _Local:
    """Chunks on processes of this machine."""

    def __init__(self, count: int) -> None:
        self._workers = Workers(count, _LOCAL, allowed_failures=ALLOWED_FAILURES)
        self.close = self._workers.close

    def map(
        self, function: Callable[[Chunk], Answer], chunks: Sequence[Chunk]
    ) -> Iterator[tuple[int, Answer]]:
        work = partial(_work, function, _provenance(function))
        with _named_modules(_LOCAL):
            yield from self._workers.map(work, chunks)


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
                    with _named_modules(self._name):
                        answer = future.result()
                except KilledWorker as error:
                    raise UserError(
                        f"{self._name}: chunk {index[future.key]} was given up, {error.allowed_failures + 1} "
                        "workers were killed while they worked on it (out of memory?)"
                    ) from None
                except CancelledError:
                    raise UserError(f"{self._name}: lost while it worked") from None
                yield index[future.key], answer
                future.release()
        finally:
            self._client.cancel(futures)


@contextmanager
def _named_modules(name: str) -> Iterator[None]:
    """A module that is not there for a worker is one line, with what to do."""
    try:
        yield
    except (ModuleNotFoundError, RuntimeError) as error:
        missing = error.__cause__ if isinstance(error, RuntimeError) else error
        if not isinstance(missing, ModuleNotFoundError):
            raise
        raise UserError(
            f"{name}: scheduler or worker has no module {missing.name!r}; start both where this microzone is "
            "installed"
        ) from None


def check_where(scheduler: str | None, workers: int | None) -> None:
    """UserError if both are given, as a scheduler has workers of its own, or one of them cannot be."""
    if scheduler is not None and workers is not None:
        raise UserError("--workers: those of --scheduler are its own")
    if scheduler is not None and _ADDRESS.fullmatch(scheduler) is None:
        raise UserError(f"scheduler {scheduler}: is no address such as tcp://host:8786")
    if workers is not None and workers < 0:
        raise UserError(f"workers = {workers}: limit is 0")


def is_encrypted(scheduler: str) -> bool:
    """Whether who talks to the scheduler at this address must have a certificate."""
    return scheduler.partition("://")[0] in _ENCRYPTED


def use_certificates(
    scheduler: str | None, ca: Path | None, cert: Path | None, key: Path | None = None
) -> None:
    """Set, for this process, what Dask's configuration says about TLS (``distributed.comm.tls``).

    Parameters
    ----------
    scheduler : str or None
        For which they are.
    ca, cert, key : Path or None
        PEM files: the authority that signed everyone's certificate, one's own certificate, its key if that is
        not in the same file. All None leaves Dask's configuration as it is.

    Raises
    ------
    UserError
        If the scheduler takes none, one is missing, or one cannot be read.
    """
    files = {"--tls-ca": ca, "--tls-cert": cert, "--tls-key": key}
    given = {option: path for option, path in files.items() if path is not None}
    if not given:
        return
    if scheduler is None or not is_encrypted(scheduler):
        raise UserError(f"{next(iter(given))}: for a --scheduler at tls://HOST:PORT only")
    for option in ("--tls-ca", "--tls-cert"):
        if option not in given:
            raise UserError(f"{option}: is missing beside {' and '.join(given)}")
    for option, path in given.items():
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            raise UserError(f"{option}: {path}: {error.strerror}") from None
    import dask

    dask.config.set(
        {
            "distributed.comm.tls.ca-file": str(ca),
            "distributed.comm.tls.client.cert": str(cert),
            "distributed.comm.tls.client.key": None if key is None else str(key),
        }
    )


@contextmanager
def cluster(scheduler: str | None = None, workers: int | None = None) -> Iterator[Run]:
    """Workers for as long as the block lasts.

    Parameters
    ----------
    scheduler : str, optional
        Address of a Dask scheduler, such as ``tls://host:8786``, for which Dask's configuration has the
        certificates. Who reaches one at ``tcp://`` can run code on it, its workers and in this process. Else
        processes of this machine do the work.
    workers : int, optional
        How many of these, each of one thread; else one a core. 0 works in this process.

    Yields
    ------
    Run
        Its ``map`` gives the same results for any number of workers. A worker that is killed loses nothing:
        its chunk goes to another one, and a local worker is replaced.

    Raises
    ------
    UserError
        If the scheduler cannot be reached, has no worker or another version of Python or Dask, if
        certificates for it are missing or damaged, or if `workers` are given beside it.
    """
    check_where(scheduler, workers)
    if scheduler is not None:
        with _quiet(), _remote(scheduler) as client:
            yield _Dask(client, scheduler)
    elif workers == 0:
        yield _Here()
    else:
        with closing(_Local(_cores() if workers is None else workers)) as run:
            yield run


@contextmanager
def _remote(scheduler: str) -> Iterator[Any]:
    from distributed import Client

    security = _security(scheduler)
    try:
        _call_on(scheduler, security)
        client = Client(scheduler, timeout=_CONNECT_S, security=security, set_as_default=False)
    except Exception as error:  # of a socket, of TLS, of Dask's messages where something else listens
        raise UserError(
            f"scheduler {scheduler}: cannot be reached: {str(error) or type(error).__name__}"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_CONNECT_S)
        except TimeoutError:
            raise UserError(
                f"scheduler {scheduler}: has no worker; start `dask worker {scheduler}`"
            ) from None
        _check_versions(scheduler, client.get_versions())
        yield client


def _security(scheduler: str) -> Any:
    """What Dask's configuration says about certificates; UserError if they do not serve at this address."""
    from distributed.security import Security

    security: Any = Security()
    try:
        context = security.get_connection_args("client")["ssl_context"]
    except OSError as error:  # of a file that is missing, or has no certificate or key
        files = security.tls_ca_file, security.tls_client_cert, security.tls_client_key
        named = ", ".join(str(file) for file in files if file)
        raise UserError(f"scheduler {scheduler}: certificates {named}: {error.strerror or error}") from None
    if context is None and is_encrypted(scheduler):
        raise UserError(
            f"scheduler {scheduler}: needs --tls-ca and --tls-cert, or distributed.comm.tls in Dask's "
            "configuration"
        )
    return security


def _call_on(scheduler: str, security: Any) -> None:
    """Connect once and hang up: a client of Dask's that fails to connect may hang while it closes."""
    from distributed.comm.core import connect

    async def connected() -> None:
        comm = await connect(scheduler, timeout=_CONNECT_S, **security.get_connection_args("client"))
        await comm.close()

    with ThreadPoolExecutor(1) as thread:  # the caller, such as a notebook, may have a loop of its own
        thread.submit(asyncio.run, asyncio.wait_for(connected(), _CONNECT_S + 1)).result()


def _check_versions(scheduler: str, versions: Any) -> None:
    """UserError if scheduler or workers have another Python or Dask than this process."""

    def short(packages: dict[str, Any], name: str) -> str:
        return ".".join(str(packages.get(name)).split(".")[: _SAME[name]])

    here = versions["client"]["packages"]
    workers = {f"worker {name}": found for name, found in versions["workers"].items()}
    for who, found in {"it": versions["scheduler"], **workers}.items():
        for name in _SAME:
            if (other := short(found["packages"], name)) != (ours := short(here, name)):
                raise UserError(
                    f"scheduler {scheduler}: {who} has {name} {other} instead of {ours}; start scheduler and "
                    "workers where this microzone is installed"
                )


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
