"""Programs that this package starts: what they see of the user's environment, and how they end.

A variable of the user's could choose other tests, another seed, another compiler or other flags, and make a
verdict false. So the environment of every program is made here, from a list of what may pass.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..golden_model.files import cache_path

__all__ = ["PASSED", "adopt_orphans", "end_descendants", "environment", "only_environment", "run", "start"]

PASSED = (
    "PATH",  # where programs are
    "HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "MICROZONE_CACHE", "YOWASP_CACHE_DIR",  # whose caches
    "TMPDIR", "TMP", "TEMP",  # where files for a while are
    "LANG", "LC_ALL", "LC_CTYPE", "TZ",  # how text and time are written
    "LD_LIBRARY_PATH",  # where Python and compilers are installed beside those of the system
)  # fmt: skip
"""Variables of the user's that reach a program: where things are, nothing of what it does."""
_GRACE_S = 0.3
_LIMIT_S = 3.0
_PR_SET_CHILD_SUBREAPER = 36


def environment(**given: str | None) -> dict[str, str]:
    """The environment of a program: :data:`PASSED`, and over it what is `given`; None leaves one out."""
    made = {name: os.environ[name] for name in PASSED if name in os.environ}
    for name, value in given.items():
        made.pop(name, None)
        if value is not None:
            made[name] = value
    made.setdefault("PATH", os.defpath)
    if "MICROZONE_CACHE" in made:
        made.setdefault("YOWASP_CACHE_DIR", str(cache_path() / "yowasp"))
    return made


@contextmanager
def only_environment(**given: str | None) -> Iterator[None]:
    """``os.environ`` as :func:`environment` makes it, for a library that starts programs by itself."""
    before = dict(os.environ)
    made = environment(**given)
    try:
        os.environ.clear()
        os.environ.update(made)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def run(
    command: Sequence[str | Path],
    *,
    folder: Path | None = None,
    log: IO[str] | None = None,
    given: Mapping[str, str | None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; who calls looks at its status.

    Parameters
    ----------
    command : sequence of str or Path
    folder : Path, optional
        Where it runs.
    log : text file, optional
        Takes all that it prints; else `stdout` and `stderr` of the result have it.
    given : mapping of str to (str or None), optional
        For :func:`environment`.

    Raises
    ------
    OSError
        If it cannot be started.
    """
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment(**(given or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if log is None else log,
        stderr=subprocess.PIPE if log is None else subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C at a terminal is this process' to deal with
    )


def start(
    command: Sequence[str | Path], *, folder: Path | None = None, talks: bool = False
) -> subprocess.Popen[bytes]:
    """Start a program whose standard output is a pipe; who starts it ends it.

    Parameters
    ----------
    command : sequence of str or Path
    folder : Path, optional
        Where it runs.
    talks : bool
        Whether its standard input is a pipe, too.

    Raises
    ------
    OSError
        If it cannot be started.
    """
    return subprocess.Popen(
        [str(word) for word in command],
        cwd=folder,
        env=environment(),
        stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def adopt_orphans() -> None:
    """Let a program whose parent ends become this process' own, so that :func:`end_descendants` finds it.

    Linux only: elsewhere a compiler that ``make`` has started goes on until it is done.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants() -> None:
    """End all programs that this process has started, and those that they have started."""
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < _LIMIT_S and (alive := _descendants()):
        for pid in alive:
            try:
                os.kill(pid, signal.SIGTERM if elapsed < _GRACE_S else signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


def _ends_by_itself(process: Path) -> bool:
    """Whether it is what ``multiprocessing`` keeps beside this process: it ends with it, and cleans up."""
    try:
        return b"multiprocessing.resource_tracker" in (process / "cmdline").read_bytes()
    except OSError:
        return True


def _descendants() -> list[int]:
    """Processes below this one that still run; a program that has ended and was not waited for does not."""
    parents: dict[int, int] = {}
    ended = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # The name of the program, in brackets, may have blanks and brackets of its own.
            state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
        except OSError:  # it has ended meanwhile
            continue
        parents[int(entry.name)] = int(parent)
        if state in "ZX" or _ends_by_itself(entry):
            ended.add(int(entry.name))
    found, todo = [], [os.getpid()]
    while todo:
        below = [pid for pid, parent in parents.items() if parent == todo[-1]]
        todo.pop()
        todo += below
        found += [pid for pid in below if pid not in ended]
    return found
