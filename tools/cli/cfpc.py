"""``microzone cfpc``: arguments in, a task of CFPC run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cfpc_studies import robustness, word_lengths
from .options import BaudOption, JsonOption, OverwriteOption, PortOption, console, errors

if TYPE_CHECKING:
    from ...golden_model.cfpc.config import CfpcConfig

__all__ = ["cfpc_app"]

cfpc_app = typer.Typer(
    help="Anticipatory control of a plant: an adaptive filter with a forward model at each synapse (CFPC).",
    rich_markup_mode=None,
    no_args_is_help=True,
)


class TaskName(StrEnum):
    """The tasks that have a configuration."""

    PURSUIT = "pursuit"
    BLINK = "blink"


class CfpcModel(StrEnum):
    """What the loop is closed around."""

    FLOAT = "float"
    FIXED = "fixed"
    RTL = "rtl"
    BOARD = "board"


ModelOption = Annotated[
    CfpcModel, typer.Option(help="Which model; fixed is compared with float, rtl and board with fixed.")
]
SimulatedOption = Annotated[
    bool, typer.Option("--simulated", help="With --model board: the board's gateware in Verilator.")
]
TrialsOption = Annotated[int, typer.Option(min=1, max=10_000, help="Trials in a row.")]
CfpcConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration (TOML); what it lacks is as the task has it."),
]
RuleOption = Annotated[
    str | None,
    typer.Option("--rule", help="FM-ET, low-order, WH or WH+70 ms (any delay); else the configuration's."),
]
BasesOption = Annotated[Path | None, typer.Option(help="Bases of your own (.npy, steps x bases).")]
ReferenceOption = Annotated[Path | None, typer.Option(help="A reference of your own (.npy, steps).")]
OutOption = Annotated[Path, typer.Option(help="Folder for picture, result and report.")]
_TRIALS, _OUT, _BAUD = 50, Path("cfpc-output"), 1_000_000


def _config_of(task: TaskName) -> CfpcConfig:
    from ...golden_model.cfpc.config import CfpcConfig

    return CfpcConfig.make() if task is TaskName.PURSUIT else CfpcConfig.blink()


def _verb(name: TaskName, says: str) -> Callable[..., None]:
    """The command of a task."""

    def run(
        context: typer.Context,
        model: ModelOption = CfpcModel.FIXED,
        trials: TrialsOption = _TRIALS,
        config: CfpcConfigOption = None,
        rule: RuleOption = None,
        bases: BasesOption = None,
        reference: ReferenceOption = None,
        port: PortOption = None,
        baud: BaudOption = _BAUD,
        simulated: SimulatedOption = False,
        out: OutOption = _OUT,
        overwrite: OverwriteOption = False,
        as_json: JsonOption = False,
    ) -> None:
        from ...golden_model.cfpc.config import CfpcConfig
        from ..cfpc.board import connect
        from ..cfpc.command import FILES, run_task
        from ..cfpc.run import DivergenceError
        from ..cfpc.task import Task
        from ..errors import UserError
        from ..outputs import Run, claimed

        if model is not CfpcModel.BOARD and (simulated or port is not None):
            raise UserError(f"--{'simulated' if simulated else 'port'}: only with --model board")
        if simulated and port is not None:
            raise UserError("--port and --simulated: one of them")
        base = _config_of(name)
        configured = base if config is None else CfpcConfig.load(config, base)
        task = Task.of(configured, rule_of=rule, reference=reference, bases=bases)
        board = partial(connect, port=port, baud=baud, simulated=simulated, status=errors)
        asked, where = Run.of(context, out, FILES), errors if as_json else console
        try:
            with claimed(out, asked, inputs=[config, bases, reference], overwrite=overwrite):
                report = run_task(task, model.value, trials, out, where, errors, board)
        except DivergenceError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
        if as_json:
            print(json.dumps(report, indent=2))
        if not report.get("bit_accurate", True):
            raise typer.Exit(1)

    run.__doc__ = says
    return run


_SAYS = {
    TaskName.PURSUIT: "Smooth pursuit: the eye learns to follow a moving target without delay.",
    TaskName.BLINK: "Eye-blink: the eyelid learns to be closed when the air puff comes.",
}
for _task, _text in _SAYS.items():
    cfpc_app.command(_task.value)(_verb(_task, _text))


@cfpc_app.command()
def config(
    task: Annotated[TaskName, typer.Argument(help="Which task's.")] = TaskName.PURSUIT,
) -> None:
    """Print a task's configuration (TOML), to start one's own from."""
    print(_config_of(task).to_toml(), end="")


cfpc_app.command()(robustness)
cfpc_app.command("word-lengths")(word_lengths)
