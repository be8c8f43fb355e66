"""The command line ``microzone``: arguments in, exit status out; each verb's work is elsewhere."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import typer

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


def main() -> None:
    """Entry point: 0 on success, 1 where something was found to be wrong, 2 for a user's mistake.

    128 and the number of the signal that has ended it.
    """
    warnings.showwarning = _show_warning
    with Ending() as ending:
        try:
            status = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
            if status == _INTERRUPTED:
                status = _interrupted(ending)
        except (KeyboardInterrupt, typer.Abort):
            status = _interrupted(ending)
        except Exception as error:
            # Typer's own complaints are about arguments.
            describe = getattr(error, "format_message", None)
            status = _complain(describe(), 2) if describe else _status_of(error)
    sys.exit(status or 0)


def _interrupted(ending: Ending) -> int:
    ending.clean()
    return _complain("interrupted", ending.status)


def _status_of(error: Exception) -> int:
    """Complain, if an error is one of those that a verb may end with; else it is a defect and goes on."""
    from ...gateware.toolchain import ToolError
    from ...golden_model.calibration.goals import CalibrationError
    from ...golden_model.config import ConfigError
    from ...golden_model.files import FileError
    from ...sim.failure import BenchFailure
    from ..errors import UserError
    from ..host.link import LinkError

    if isinstance(error, CalibrationError | ConfigError | FileError | UserError):
        return _complain(str(error), 2)
    if isinstance(error, BenchFailure | LinkError | ToolError):
        return _complain(str(error), 1)
    raise error


def _complain(message: str, status: int) -> int:
    print("error:", " ".join(message.split()), file=sys.stderr)
    return status


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    from ...golden_model.representable import PrecisionWarning

    if issubclass(category, PrecisionWarning):
        print("warning:", message, file=sys.stderr)


if __name__ == "__main__":
    main()
