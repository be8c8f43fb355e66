"""Processes of this machine that work on chunks, each at the end of a pipe.

A pipe has no name and no address: only the two processes that hold its ends can write to it, whoever else is
on the machine. What arrives is unpickled, and so runs code; a socket that listens would let others send it.

A worker leads a process group. Ctrl-C at a terminal reaches the caller alone, who then ends the workers and
what they run. A worker whose caller is gone, for whatever reason, ends by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import cloudpickle

from ..gateware.processes import adopt_orphans, end_descendants
from ..gateware.scratch import remove_scratch
from .errors import UserError

__all__ = ["Workers"]

Chunk = TypeVar("Chunk")
Answer = TypeVar("Answer")

_GRACE_S = 3
"""How long a worker that is told to end may take to remove its temporary files."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_SPAWN = multiprocessing.get_context("spawn")
"""A fresh interpreter: a fork would take along the locks that threads of the caller hold."""


class Workers:
    """Up to so many processes, started when there is work for them.

    Parameters
    ----------
    count : int
        At least 1.
    name : str
        For messages.
    allowed_failures : int
        A chunk whose worker was killed so often and once more is given up: it may be what kills them.
    """

    def __init__(self, count: int, name: str, *, allowed_failures: int) -> None:
        self._count, self._name, self._allowed_failures = count, name, allowed_failures
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()

    def map(
        self, function: Callable[[Chunk], Answer], chunks: Sequence[Chunk]
    ) -> Iterator[tuple[int, Answer]]:
        """(index of the chunk, result) of each, in the order in which they are finished.

        A worker that is killed is replaced, and its chunk done by another one.

        Parameters
        ----------
        function : callable
            May run more than once for a chunk. One of a script's or a notebook's own is sent along.
        chunks : sequence
            Picklable.

        Raises
        ------
        UserError
            If a chunk has ended all workers that tried it, or workers cannot start.
        Exception
            Whatever `function` raises, with the worker's traceback as a note.
        """
        waiting, losses = deque(range(len(chunks))), Counter[int | None]()
        busy: dict[Connection, tuple[_Worker, int | None]] = {}  # None: it starts
        try:
            while waiting or any(index is not None for _, index in busy.values()):
                while waiting and self._idle:
                    worker, index = self._idle.pop(), waiting.popleft()
                    busy[worker.connection] = worker, index
                    worker.give(cloudpickle.dumps((function, chunks[index])))
                starting = sum(index is None for _, index in busy.values())
                for _ in range(min(len(waiting) - starting, self._count - len(busy))):
                    worker = self._start()
                    busy[worker.connection] = worker, None
                ready = wait(list(busy))[0]
                assert isinstance(ready, Connection)
                worker, done = busy.pop(ready)
                try:
                    received = ready.recv_bytes()
                except (EOFError, OSError):
                    self._mourn(worker, done, losses)
                    waiting.extend([] if done is None else [done])
                    continue
                self._idle.append(worker)
                if done is None:
                    continue
                answer, error = pickle.loads(received)
                if error is not None:
                    raise error
                yield done, answer
        finally:
            self._end([worker for worker, _ in busy.values()])  # what they work on is not wanted any more

    def close(self) -> None:
        """End all workers."""
        self._end(self._all)

    def _start(self) -> _Worker:
        worker = _Worker()
        self._all.add(worker)
        return worker

    def _mourn(self, worker: _Worker, index: int | None, losses: Counter[int | None]) -> None:
        """Note that a worker has ended; UserError if another one would fare no better."""
        self._end([worker])
        losses[index] += 1
        too_often = losses[index] > self._allowed_failures
        if index is not None and too_often:
            raise UserError(
                f"{self._name}: chunk {index} was given up, {losses[index]} workers were killed while they "
                "worked on it (out of memory?)"
            )
        if index is None and (too_often or not worker.was_killed):
            raise UserError(
                f"{self._name}: a worker ended before it began; a script of your own needs "
                'if __name__ == "__main__": around what starts the work'
            )

    def _end(self, workers: Iterable[_Worker]) -> None:
        ended = list(workers)
        for worker in ended:
            worker.ask_to_end()
        deadline = time.monotonic() + _GRACE_S
        for worker in ended:
            worker.end(deadline)
        self._all.difference_update(ended)


class _Worker:
    """The caller's end: the process, and the pipe to it. Its first message says that it has started."""

    def __init__(self) -> None:
        self.connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs,), name="microzone worker", daemon=True)
        with theirs, _surroundings():
            self._process.start()

    @property
    def was_killed(self) -> bool:
        """Of one that has ended: by a signal, not by itself."""
        return (self._process.exitcode or 0) < 0

    def give(self, payload: bytes) -> None:
        """One that has ended takes nothing; that is noticed where its answer is waited for."""
        with suppress(OSError):
            self.connection.send_bytes(payload)

    def ask_to_end(self) -> None:
        self._process.terminate()

    def end(self, deadline: float) -> None:
        """Wait until it has ended, and end what is left of it and of the programs that it runs."""
        wait([self._process.sentinel], max(0, deadline - time.monotonic()))
        assert self._process.pid is not None
        with suppress(ProcessLookupError):  # it may not lead its group yet
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self.connection.close()


@contextmanager
def _surroundings() -> Iterator[None]:
    """What a worker is born into: one thread for libraries, and no Ctrl-C before it leads a group."""
    before = {name: os.environ.get(name) for name in _THREADS}
    resource_tracker.ensure_running()  # else the first start does it, and lets Ctrl-C in again
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


# --- in a worker --------------------------------------------------------------------------------


def _serve(connection: Connection) -> None:
    """Chunk after chunk, until the caller wants no more or is gone."""
    os.setpgid(0, 0)
    adopt_orphans()
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_follow_caller, daemon=True).start()
    try:
        connection.send_bytes(b"")
        while True:
            connection.send_bytes(_answer(connection.recv_bytes()))
    except (EOFError, ConnectionError, SystemExit):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end_descendants()
        remove_scratch()
        sys.stdout.flush()
        os.killpg(0, signal.SIGKILL)


def _answer(payload: bytes) -> bytes:
    """(result, None) or (None, error), pickled."""
    try:
        function, chunk = pickle.loads(payload)
        return pickle.dumps((function(chunk), None))
    except Exception as error:
        error.add_note("In a worker:\n" + traceback.format_exc())
        try:
            pickled = pickle.dumps((None, error))
            pickle.loads(pickled)
        except Exception:  # an error with a constructor of its own may not come back
            plain = RuntimeError(f"{type(error).__name__}: {error}")
            plain.add_note(error.__notes__[-1])
            pickled = pickle.dumps((None, plain))
        return pickled


def _leave(*_: Any) -> None:
    """As an exception, so that temporary files are removed and programs ended on the way out."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit


def _follow_caller() -> None:
    caller = multiprocessing.parent_process()
    assert caller is not None
    caller.join()
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM)  # a signal to another thread would not wake this one
    time.sleep(_GRACE_S)
    end_descendants()
    os.killpg(0, signal.SIGKILL)
