"""``microzone host``: the verbs that talk to a chip, over a serial port or simulated."""

from __future__ import annotations

import json
import signal
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    MOST_SEED,
    MOST_TRIALS,
    BaudOption,
    JsonOption,
    OverwriteOption,
    PortOption,
    console,
    errors,
)

if TYPE_CHECKING:
    from ...golden_model.config import ChipConfig
    from ...golden_model.experiment.preparation import Preparation
    from ..host.chip import Host

__all__ = ["host_app"]

host_app = typer.Typer(
    help="Talk to a chip: over a serial port, or simulated.", rich_markup_mode=None, no_args_is_help=True
)

SimulatedOption = Annotated[
    bool, typer.Option("--simulated", help="The chip's gateware in Verilator, with a virtual preparation.")
]
BuiltOption = Annotated[
    Path | None, typer.Option("--config", help="The TOML that came with the bitstream; else the default.")
]
PairedOption = Annotated[int, typer.Option(min=0, max=MOST_TRIALS, help="Simulated: paired CS-US trials.")]
AloneOption = Annotated[
    int, typer.Option(min=0, max=MOST_TRIALS, help="Simulated: CS-alone trials after them.")
]
ItiOption = Annotated[
    tuple[float, float], typer.Option(help="Simulated: shortest and longest interval from CS to CS, in s.")
]
SeedOption = Annotated[
    int, typer.Option(min=0, max=MOST_SEED, help="Simulated: seed of preparation and amplifier.")
]


class DesignOption(StrEnum):
    """What `identify` looks for."""

    CHIP = "chip"
    CFPC = "cfpc"


_BAUD = 1_000_000
_PAIRED, _ALONE, _SEED = 10, 0, 1
_ITI = (10.0, 15.0)


def _connected(
    port: str | None,
    baud: int,
    simulated: bool,
    built: Path | None,
    trials: tuple[int, int, tuple[float, float], int] | None = None,
) -> AbstractContextManager[tuple[Host, Preparation | None]]:
    """A host of a chip, and what it is connected to in the simulation."""
    from ..host.connection import Connection, Trials, connected

    where = Connection(port, baud, simulated=simulated, config=built)
    return connected(where, Trials(*trials) if trials else None, status=errors)


@host_app.command()
def identify(
    design: Annotated[DesignOption, typer.Option(help="What the bitstream holds.")] = DesignOption.CHIP,
    port: PortOption = None,
    baud: BaudOption = _BAUD,
    simulated: SimulatedOption = False,
    config: BuiltOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what chip it is, and whether its gateware is what this installation would build."""
    from ..host.connection import Connection
    from ..host.identification import identify as ask

    where = Connection(port, baud, simulated=simulated, config=config)
    identification = ask(where, design.value, status=errors)
    if as_json:
        print(json.dumps(identification.facts(), indent=2))
        return
    for line in identification.describe():
        _say(line)


@host_app.command()
def load(
    wanted: Annotated[Path, typer.Argument(help="Configuration (TOML) to load.")],
    weights: Annotated[bool, typer.Option("--weights", help="With weight.initial as w.")] = False,
    port: PortOption = None,
    baud: BaudOption = _BAUD,
    simulated: SimulatedOption = False,
    config: BuiltOption = None,
) -> None:
    """Give a running chip other parameters: all that registers change, verified word by word."""
    from ...golden_model.config import ChipConfig

    asked = ChipConfig.load(wanted)
    with _connected(port, baud, simulated, config) as (host, _):
        host.check_built()
        in_time = host.load(_at_clock_of(host, asked, simulated), weights=weights)
    _say(f"{wanted}: loaded and verified")
    if not in_time:
        _say("the words of some electrodes came into effect during a step, not before it")


@host_app.command()
def save(
    out: Annotated[Path, typer.Argument(help="File (TOML).")],
    port: PortOption = None,
    baud: BaudOption = _BAUD,
    simulated: SimulatedOption = False,
    config: BuiltOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Save what the microcircuits have learnt: w, δp and δd."""
    from ..outputs import check_files

    check_files([config], [out], overwrite=overwrite)
    with _connected(port, baud, simulated, config) as (host, _):
        host.check_built()
        weights = host.weights()
    weights.save(out)
    _say(f"w of {len(weights.words['weight'])} microcircuits saved in {out}")


@host_app.command()
def restore(
    saved: Annotated[Path, typer.Argument(help="File that `save` has written.")],
    other_config: Annotated[
        bool,
        typer.Option("--other-config", help="Also from a chip with another configuration, if words fit."),
    ] = False,
    port: PortOption = None,
    baud: BaudOption = _BAUD,
    simulated: SimulatedOption = False,
    config: BuiltOption = None,
) -> None:
    """Give the microcircuits what they had learnt, verified; before the front end runs."""
    from ...golden_model.files import FileError
    from ..host.parameters import Weights

    weights = Weights.load(saved)
    with _connected(port, baud, simulated, config) as (host, _):
        host.check_built()
        try:
            host.restore(weights, other_config=other_config)
        except FileError as error:
            raise FileError(f"{saved}: {error}") from None
    _say(f"w of {len(weights.words['weight'])} microcircuits restored from {saved}")


@host_app.command()
def registers(
    prefix: Annotated[
        str, typer.Argument(help="Beginning of the names, such as control or circuits[0].")
    ] = "",
    port: PortOption = None,
    baud: BaudOption = _BAUD,
    simulated: SimulatedOption = False,
    config: BuiltOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read registers by name: word, real value, fields."""
    from rich.table import Table

    from ..host.link import LinkError
    from ..host.parameters import word_format

    with _connected(port, baud, simulated, config) as (host, _):
        host.check_built()
        chosen = [
            r.path for r in host.registers.registers.values() if r.readable and r.path.startswith(prefix)
        ]
        if not chosen:
            raise LinkError(f"register {prefix!r}: the chip has none that begins so")
        words = host.read_words(chosen)
        values = {path: host.value_of(path, word) for path, word in words.items()}
        formats = {path: word_format(host.config, path) for path in words}
        known = {path: host.registers[path].fields for path in words}
    if as_json:
        print(json.dumps(words, indent=2))
        return
    table = Table("register", "word", "value", "fields", box=None)
    for path, word in words.items():
        parts = known[path] if len(known[path]) > 1 else {}
        fields = " ".join(f"{name}={field.of(word)}" for name, field in parts.items())
        value = f"{values[path]:.9g} {formats[path]}" if formats[path] else str(word)
        table.add_row(path, f"{word:#010x}", value, fields)
    console.print(table)


@host_app.command()
def monitor(
    arm: Annotated[bool, typer.Option("--arm", help="Arm the stimulation, with heartbeats.")] = False,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Seconds of the chip's time; else until Ctrl-C.")
    ] = None,
    port: PortOption = None,
    baud: BaudOption = _BAUD,
    simulated: SimulatedOption = False,
    config: BuiltOption = None,
    paired: PairedOption = _PAIRED,
    cs_alone: AloneOption = _ALONE,
    iti: ItiOption = _ITI,
    seed: SeedOption = _SEED,
) -> None:
    """Show a chip at work, live, until Ctrl-C; then disarm it."""
    from ..host.monitor import run_monitor

    trials = (paired, cs_alone, iti, seed)
    with _connected(port, baud, simulated, config, trials) as (host, preparation):
        host.check_built()
        if preparation is not None:
            whole = preparation.n_steps * host.config.time.step_s
            seconds = whole if seconds is None else min(seconds, whole)
        ended = run_monitor(host, host.config, console, arm=arm, seconds=seconds).ended_by
    if ended.status:
        raise typer.Exit(ended.status)


@host_app.command()
def record(
    out: Annotated[Path, typer.Option(help="Folder for events, result, configuration, report.")],
    seconds: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds of the chip's time; else until Ctrl-C, or the simulation's end."),
    ] = None,
    load: Annotated[
        Path | None, typer.Option("--load", help="Configuration (TOML) to load first; else that of --config.")
    ] = None,
    port: PortOption = None,
    baud: BaudOption = _BAUD,
    simulated: SimulatedOption = False,
    config: BuiltOption = None,
    paired: PairedOption = _PAIRED,
    cs_alone: AloneOption = _ALONE,
    iti: ItiOption = _ITI,
    seed: SeedOption = _SEED,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Arm a chip and record its session, so that `microzone compare` reads it back."""
    from ...golden_model.config import ChipConfig
    from ..host.conversion import check_free
    from ..host.journal import JOURNAL, how_to_recover
    from ..host.session import RecordingError

    check_free(out, overwrite=overwrite, inputs=(load, config))
    asked = ChipConfig.load(load) if load else None
    trials = (paired, cs_alone, iti, seed)
    where = _connected(port, baud, simulated, config, trials)
    try:
        report = _record(where, out, asked, seconds, overwrite=overwrite, simulated=simulated)
    except RecordingError:
        raise
    except BaseException:  # what it has recorded is not lost
        if (out / JOURNAL).exists():
            _warn(f"{out / JOURNAL}: kept; {how_to_recover(out / JOURNAL)}")
        raise
    _tell(report, out, as_json=as_json)
    ended_by = report["ended_by"]
    if ended_by is not None and ended_by != "SIGINT":
        raise typer.Exit(128 + signal.Signals[ended_by])
    if not report["complete"]:
        raise typer.Exit(1)


@host_app.command()
def recover(
    journal: Annotated[Path, typer.Argument(help="Left by a recording that was stopped: recording.journal.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for events, result, configuration, report; else the journal's."),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make the files of a recording that was stopped before its end, of its journal."""
    from ..host.conversion import convert

    folder = journal.parent if out is None else out
    report = convert(journal, folder, overwrite=overwrite)
    _tell(report, folder, as_json=as_json)
    if not report["complete"]:
        raise typer.Exit(1)


def _record(
    where: AbstractContextManager[tuple[Host, Preparation | None]],
    out: Path,
    asked: ChipConfig | None,
    seconds: float | None,
    *,
    overwrite: bool,
    simulated: bool,
) -> dict[str, Any]:
    """Load what is asked for, and record; the report."""
    from ...golden_model.config import ConfigError
    from ..host.session import record_session
    from ..report.output import progress_bar

    with where as (host, preparation):
        host.check_built()
        wanted = host.config
        if asked is not None:
            wanted = _at_clock_of(host, asked, simulated)
            host.load(wanted)
        n_steps = None if seconds is None else wanted.steps(seconds)
        facts: dict[str, Any] = {}
        if preparation is not None:
            n_steps = preparation.n_steps if n_steps is None else min(n_steps, preparation.n_steps)
            facts["trials"] = (preparation.cs, preparation.us)
        if n_steps == 0:
            raise ConfigError(f"--seconds {seconds:g}: not a step")
        with progress_bar("record", n_steps, errors) as advance:
            return record_session(
                host, wanted, out, n_steps=n_steps, progress=advance, overwrite=overwrite, **facts
            )


def _tell(report: dict[str, Any], out: Path, *, as_json: bool) -> None:
    """What has become of a recording."""
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _say(
            f"{report['n_steps']} steps, {report['seconds']:.1f} s: {report['cr']} CRs, "
            f"w {report['w_last']:.4f} at the end; written to {out}/"
        )
        for line in report["faults"]:
            _say(f"fault at {line}")
    for line in report["problems"]:
        _warn(f"not complete: {line}")


def _at_clock_of(host: Host, config: ChipConfig, simulated: bool) -> ChipConfig:
    """The configuration at the clock of the simulation, which is not that of the board."""
    if not simulated:
        return config
    return config.replace(time={"clock_hz": host.config.time.clock_hz})


def _warn(line: str) -> None:
    errors.print(line, markup=False, highlight=False)


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False)
