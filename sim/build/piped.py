"""A simulation that runs as a program of its own, told what to do and answering over pipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from ..failure import BenchFailure
from .simulators import NOT_WRITTEN, not_written, started

__all__ = ["PipedProgram"]


class PipedProgram:
    """A program on standard input and output; everything is in the machine's own byte order.

    It is in a session of its own: Ctrl-C at the terminal is for who runs it. It ends with its input: when
    that program ends, in whatever way.

    Parameters
    ----------
    program : Path
    reasons : mapping of int to str, optional
        Why it ends by itself, by its exit status.
    arguments : sequence of str or Path
        Of the program.
    folder : Path, optional
        Where it writes files.

    Raises
    ------
    BenchFailure
        From :meth:`tell` and :meth:`take`, if the program has ended by itself, and :meth:`finish`.
    ToolError
        From these, if it could not write its files.
    """

    def __init__(
        self,
        program: Path,
        reasons: Mapping[int, str] | None = None,
        *,
        arguments: Sequence[str | Path] = (),
        folder: Path | None = None,
    ) -> None:
        self._reasons, self._folder = reasons or {}, folder
        self._process = started([program, *arguments], talks=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the program."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # what it was told last, and has not heard
                    pipe.close()

    def finish(self) -> None:
        """Let the program end, as it does with its input, and wait until all is written."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.wait():
            raise self._ended()

    def tell(self, request: bytes) -> None:
        """Send a request."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def take(self, count: int) -> bytes:
        """So many bytes of an answer."""
        assert self._process.stdout is not None
        answer = self._process.stdout.read(count)
        if len(answer) != count:
            raise self._ended()
        return answer

    def _ended(self) -> Exception:
        status = self._process.wait()
        if status == NOT_WRITTEN and self._folder is not None:
            return not_written(self._folder)
        why = self._reasons.get(status, f"status {status}")
        return BenchFailure(f"the simulation ended by itself, {why}")

    def number(self, size: int) -> int:
        """An unsigned number of so many bytes of an answer."""
        return int.from_bytes(self.take(size), "little")
