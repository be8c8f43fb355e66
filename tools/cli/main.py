"""The command line ``microzone``: arguments in, exit status out; each verb's work is elsewhere."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from ..text import printable, with_any_letters
from .build import build
from .calibrate import calibrate
from .cfpc import cfpc_app
from .compare import compare
from .demo import demo
from .detect import detect
from .doctor import doctor
from .host import host_app
from .infer import infer
from .infer_compare import infer_compare
from .reproduce import reproduce
from .run import run
from .session import session
from .signals import Ending
from .sim import sim
from .sweep import sweep
from .verilog import verilog

app = typer.Typer(
    help="A cerebellar microcircuit that learns, as open gateware.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for _verb in (
    demo, run, build, compare, infer_compare, infer, reproduce, sim, sweep, verilog, session, detect,
    calibrate, doctor,
):  # fmt: skip
    app.command()(_verb)
app.add_typer(cfpc_app, name="cfpc")
app.add_typer(host_app, name="host")

_INTERRUPTED = 130
"""What typer returns where it has met a KeyboardInterrupt."""
_LONGEST = 2000
"""Characters of a message: a name or a number that was given may be as long as anybody likes."""
_debug = False


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an unexpected error comes from, whole.")
    ] = False,
) -> None:
    """Before the verb: what holds for all of them."""
    global _debug
    _debug = debug


def main() -> None:
    """Entry point: 0 on success, 1 where something was found to be wrong, 2 for a user's mistake.

    128 and the number of the signal that has ended it.
    """
    global _debug
    _debug = False
    warnings.showwarning = _show_warning
    with_any_letters()
    with Ending() as ending:
        try:
            status = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
            if status == _INTERRUPTED:
                status = _interrupted(ending)
        except (KeyboardInterrupt, typer.Abort):
            status = _interrupted(ending)
        except Exception as error:
            # What a signal has ended may have failed for that.
            status = _interrupted(ending) if ending.received else _status_of(error)
    sys.exit(_with_all_printed(status or 0))


def _with_all_printed(status: int) -> int:
    """Write what has been printed; a first failure is told, and who stops reading is told nothing."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # Or else Python would try again at its end, and tell it in its own words.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        if not status:
            status = 1 if isinstance(error, BrokenPipeError) else _status_of(error)
    return status


def _interrupted(ending: Ending) -> int:
    ending.clean()
    return _complain("interrupted", ending.status)


def _status_of(error: Exception) -> int:
    """Complain in a line: of arguments, what a verb may end with, the operating system, a defect."""
    from ...gateware.toolchain import ToolError
    from ...golden_model.calibration.goals import CalibrationError
    from ...golden_model.config import ConfigError
    from ...golden_model.files import FileError
    from ...sim.failure import BenchFailure
    from ..errors import UserError
    from ..host.link import LinkError

    if describe := getattr(error, "format_message", None):  # of Typer: about arguments
        return _complain(describe(), 2)
    if isinstance(error, CalibrationError | ConfigError | FileError | UserError):
        return _complain(str(error), 2)
    if isinstance(error, BenchFailure | LinkError | ToolError):
        return _complain(str(error), 1)
    if _debug:
        traceback.print_exception(error)
    return _complain(_unexpected(error), 1)


def _unexpected(error: Exception) -> str:
    """What nobody has foreseen, in a line: what happened, to which file, where."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _PACKAGE in Path(frame.filename).parents] or frames
    where = f"{frames[-1].name}, in {Path(ours[-1].filename).name} line {ours[-1].lineno}"
    hint = "" if _debug else "; microzone --debug VERB ... shows all"
    if isinstance(error, OSError):
        paths = " and ".join(str(path) for path in (error.filename, error.filename2) if path is not None)
        what = f"{paths}: {error.strerror or error}" if paths else str(error.strerror or error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what += f" (temporary files are in {tempfile.gettempdir()}; TMPDIR sets another folder)"
        return f"{what} ({where}{hint})"
    if isinstance(error, MemoryError):
        return f"not enough memory: {str(error) or type(error).__name__} ({where}{hint})"
    if isinstance(error, RecursionError):
        return f"nested too deep ({where}{hint})"
    return f"unexpected: {type(error).__name__}: {error} ({where}{hint})"


_PACKAGE = Path(__file__).resolve().parents[2]


def _complain(message: str, status: int) -> int:
    line = " ".join(message.split())
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
    print("error:", printable(line), file=sys.stderr)
    return status


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    from ...golden_model.representable import PrecisionWarning

    if issubclass(category, PrecisionWarning):
        print("warning:", printable(str(message)), file=sys.stderr)


if __name__ == "__main__":
    main()
