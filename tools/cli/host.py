"""``microzone host``: the verbs that talk to a chip, over a serial port or simulated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ...golden_model.cfpc import CfpcConfig
from ...golden_model.config import ChipConfig, ConfigError
from ...golden_model.experiment.preparation import Preparation
from ...golden_model.files import FileError
from ..host.cfpc import CfpcIdentity, CfpcLink
from ..host.chip import Host, Identity, LinkError, Transport
from ..host.parameters import Weights, word_format
from ..models import paired_then_alone
from ..report.output import check_files, progress_bar
from .options import JsonOption, console, errors

__all__ = ["host_app"]

host_app = typer.Typer(
    help="Talk to a chip: over a serial port, or simulated.", rich_markup_mode=None, no_args_is_help=True
)

PortOption = Annotated[
    str | None, typer.Option("--port", help="Serial port; else the only USB one that there is.")
]
BaudOption = Annotated[int, typer.Option("--baud", min=9600, help="Bits a second of the serial port.")]
SimulatedOption = Annotated[
    bool, typer.Option("--simulated", help="The chip's gateware in Verilator, with a virtual preparation.")
]
BuiltOption = Annotated[
    Path | None, typer.Option("--config", help="The TOML that came with the bitstream; else the default.")
]
PairedOption = Annotated[int, typer.Option(min=0, help="Simulated: paired CS-US trials.")]
AloneOption = Annotated[int, typer.Option(min=0, help="Simulated: CS-alone trials after them.")]
ItiOption = Annotated[
    tuple[float, float], typer.Option(help="Simulated: shortest and longest interval from CS to CS, in s.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Simulated: of preparation and amplifier.")]


class DesignOption(StrEnum):
    """What `identify` looks for."""

    CHIP = "chip"
    CFPC = "cfpc"


_BAUD = 1_000_000
_PAIRED, _ALONE, _SEED = 10, 0, 1
_ITI = (10.0, 15.0)


@contextmanager
def _connected(
    port: str | None,
    baud: int,
    simulated: bool,
    built: Path | None,
    trials: tuple[int, int, tuple[float, float], int] | None = None,
) -> Iterator[tuple[Host, Preparation | None]]:
    """A host of a chip, and what it is connected to in the simulation."""
    config = ChipConfig.load(built) if built else ChipConfig.make()
    preparation = None
    transport: Transport
    if simulated:
        if port is not None:
            raise ConfigError("--port and --simulated: choose one")
        from ...sim.loop.closed_loop import with_slowest_clock
        from ...sim.loop.simulated_board import SimulatedBoard, electrodes_of

        config = with_slowest_clock(config)
        electrodes, n_frames = None, None
        if trials is not None:
            paired, alone, iti_s, seed = trials
            preparation = Preparation(config, paired_then_alone(paired, alone, iti_s=iti_s), seed)
            electrodes, n_frames = electrodes_of(config, preparation, seed), preparation.n_frames
        with errors.status("verilator: building the simulation (once for each configuration)"):
            transport = SimulatedBoard(config, electrodes, n_frames=n_frames, baud=baud)
    else:
        from ..host.serial import SerialTransport, find_port

        transport = SerialTransport(port or find_port(), baud)
    host = Host(transport, config)
    try:
        yield host, preparation
    finally:
        host.close()


def _identify_filter(config: CfpcConfig, port: str | None, baud: int, simulated: bool) -> CfpcIdentity:
    """What a CFPC filter says of itself."""
    transport: Transport
    if simulated:
        if port is not None:
            raise ConfigError("--port and --simulated: choose one")
        from ...sim.loop.simulated_cfpc import SimulatedCfpc

        with errors.status("verilator: building the simulation (once for each configuration)"):
            transport = SimulatedCfpc(config, baud=baud)
    else:
        from ..host.serial import SerialTransport, find_port

        transport = SerialTransport(port or find_port(), baud)
    try:
        return CfpcLink(transport, config).identify()
    finally:
        transport.close()


def _would_build(config: ChipConfig | CfpcConfig, baud: int, simulated: bool) -> dict[str, str]:
    """Identities of what this installation builds of a configuration, by board."""
    if simulated:
        from ...sim.loop.simulated_board import simulated_identity
        from ...sim.loop.simulated_cfpc import simulated_cfpc_identity

        if isinstance(config, ChipConfig):
            return {"simulation": simulated_identity(config)}
        return {"simulation": simulated_cfpc_identity(config)}
    from ...boards.identity import board_identities

    with errors.status("Amaranth: elaborating what this installation builds"):
        return board_identities(config, baud)


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
    found: Identity | CfpcIdentity
    own: ChipConfig | CfpcConfig
    if design is DesignOption.CFPC:
        own = CfpcConfig.load(config) if config else CfpcConfig.make()
        found = _identify_filter(own, port, baud, simulated)
        what = f"CFPC filter {found.version}"
        geometry = f"{found.synapses} synapses, {found.inputs} inputs"
    else:
        with _connected(port, baud, simulated, config) as (host, _):
            found, own = host.identify(), host.config
        what = f"microzone {found.version}"
        parts = [name for name in ("recalibration", "bandpass") if getattr(found, name)]
        geometry = (
            f"{found.circuits} microcircuits, {found.electrodes} electrodes, "
            f"{' and '.join(parts) or 'no recalibration'}"
        )
    known = found.digest == own.digest
    builds = _would_build(own, baud, simulated) if known else {}
    same = [name for name, identity in builds.items() if identity == found.identity]
    if as_json:
        verdict = {
            "config_is_known": known,
            "builds": builds,
            "is_built_here": bool(same) if builds else None,
        }
        print(json.dumps(asdict(found) | verdict, indent=2))
        return
    whose = "" if known else " (not that of --config)"
    _say(
        f"{what}, identity {found.identity}, configuration {found.digest[:12]}{whose}: "
        f"{geometry}, clock {found.clock_hz / 1e6:g} MHz"
    )
    if same:
        _say(f"its gateware is what this installation builds for {', '.join(same)}")
    elif builds:
        listed = ", ".join(f"{identity} for {name}" for name, identity in builds.items())
        _say(f"its gateware is not what this installation builds of this configuration: {listed}")
    elif known:
        _say("this installation builds its configuration for no board: its gateware is compared with nothing")
    else:
        _say("its gateware can be compared with what this installation builds only with its own --config")


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
) -> None:
    """Save what the microcircuits have learnt: w, δp and δd."""
    check_files([config], [out])
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
        float | None, typer.Option(min=0, help="Of the chip's time; else until Ctrl-C.")
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
        run_monitor(host, host.config, console, arm=arm, seconds=seconds)


@host_app.command()
def record(
    out: Annotated[Path, typer.Option(help="Folder for events, result, configuration, report.")],
    seconds: Annotated[
        float | None,
        typer.Option(min=0, help="Of the chip's time; else until Ctrl-C, or the simulation's end."),
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
    as_json: JsonOption = False,
) -> None:
    """Arm a chip and record its session, so that `microzone compare` reads it back."""
    from ..host.session import record_session

    asked = ChipConfig.load(load) if load else None
    trials = (paired, cs_alone, iti, seed)
    with _connected(port, baud, simulated, config, trials) as (host, preparation):
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
        with progress_bar("record", n_steps or 1, errors) as advance:
            report = record_session(host, wanted, out, n_steps=n_steps, progress=advance, **facts)
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
        errors.print(f"not complete: {line}", markup=False, highlight=False)
    if not report["complete"]:
        raise typer.Exit(1)


def _at_clock_of(host: Host, config: ChipConfig, simulated: bool) -> ChipConfig:
    """The configuration at the clock of the simulation, which is not that of the board."""
    if not simulated:
        return config
    return config.replace(time={"clock_hz": host.config.time.clock_hz})


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False)
