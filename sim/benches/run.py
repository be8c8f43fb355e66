"""How a block is tried: its cocotb bench, its configurations, its long runs; and the one runner for all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...boards.family import FAMILIES
from ...gateware.blocks import Block
from ...gateware.scratch import Scratch
from ...gateware.toolchain import ToolError
from ...golden_model.cfpc.config import CfpcConfig
from ...golden_model.config import ChipConfig, ConfigError
from ..build.kept_verilog import kept_verilog
from ..build.netlist import Netlist
from ..build.simulators import SIMULATORS, TRACE, CocotbSimulator, Design, Simulator

__all__ = ["COCOTB", "BlockBench", "Run"]

COCOTB = tuple(name for name, known in SIMULATORS.items() if isinstance(known, CocotbSimulator))
"""Names of the simulators that run a cocotb bench."""


@dataclass(frozen=True)
class Run:
    """What one run of a bench was asked for.

    Attributes
    ----------
    simulator : Simulator
    config_name : str
    config : object
        The configuration of that name, for so many channels.
    channels : int
        1 for a block that has no number of them.
    seed : int
    steps : int
    netlist : {"ice40", "ecp5", "bitstream"}, optional
    waves : Path, optional
    verilog : str
        Of the block, or of its netlist.
    again : str
        The command that repeats the run.
    """

    simulator: Simulator
    config_name: str
    config: Any
    channels: int
    seed: int
    steps: int
    netlist: Netlist | None
    waves: Path | None
    verilog: str
    again: str


@dataclass(frozen=True)
class BlockBench:
    """How a block is tried.

    Attributes
    ----------
    block : Block
    module : str, optional
        Module with the cocotb tests of the block's ports; None if it has none.
    passed : callable
        What is told once they have passed.
    configs : mapping of str to object
        Configurations that it is tried with, by name.
    default : str
        The name of the one that is taken if none is asked for.
    suits : callable
        Whether a configuration is one that the block can be tried with.
    others : str
        What a configuration lacks that is not among them, for the message.
    takes_channels : bool
        Whether a run may say how many channels.
    adapted : callable
        From a configuration and a number of channels to the configuration of a run.
    emit : callable, optional
        Makes the Verilog that is tried, of configuration, channels and netlist; else that of the block's
        component.
    design : callable, optional
        What the block stands in while its ports are tried; else it stands alone.
    config_text : callable, optional
        What the cocotb module finds as ``MICROZONE_CONFIG``; else the text of the configuration. All find
        ``MICROZONE_CHANNELS``, ``MICROZONE_STEPS`` and, for messages, ``MICROZONE_SEED`` and
        ``MICROZONE_AGAIN`` beside it.
    replays : callable, optional
        Makes long runs that are recorded and compared, and gives a line for each that passed. They record
        waves; a block without them has none.
    simulators : collection of str
        Those that run any of it.
    netlists : collection of str
        What it can run on instead of the gateware as it is written.
    waits_for_edges : bool
        Whether a glitch of a netlist would mislead the cocotb tests.
    """

    block: Block
    module: str | None
    passed: Callable[[Run], str]
    configs: Mapping[str, Any]
    default: str = "default"
    suits: Callable[[Any], bool] = lambda config: True
    others: str = ""
    takes_channels: bool = False
    adapted: Callable[[Any, int], Any] = lambda config, channels: config
    emit: Callable[[Any, int, Netlist | None], str] | None = None
    design: Callable[[Run], Design] | None = None
    config_text: Callable[[Run], str] | None = None
    replays: Callable[[Run], Iterator[str]] | None = None
    simulators: Collection[str] = COCOTB
    netlists: Collection[Netlist] = tuple(FAMILIES)
    waits_for_edges: bool = False

    def configuration(self, name: str | None) -> Any:
        """One of the bench's own configurations by its name, or that of a file; the default for None.

        Raises
        ------
        ConfigError
            If there is none of that name, the file has none, or it is none for this bench.
        """
        if name is None or name in self.configs:
            return self.configs[name or self.default]
        kind = type(self.configs[self.default])
        takes_files = kind in (ChipConfig, CfpcConfig)
        if not (takes_files and (name.endswith(".toml") or Path(name).is_file())):
            more = ", or a file (.toml)" if takes_files else ""
            raise ConfigError(
                f"configuration {name!r}{self.others}: choose from {_listed(self.configs)}{more}"
            )
        config = kind.load(name)
        if not self.suits(config):
            raise ConfigError(f"{name}:{self.others}")
        return config

    def check(
        self,
        simulator: Simulator,
        *,
        config_name: str | None = None,
        channels: int | None = None,
        netlist: str | None = None,
        waves: bool = False,
    ) -> None:
        """Refuse what this bench does not take, before anything is made.

        Raises
        ------
        ConfigError
            For a configuration, a number of channels, a netlist or waves.
        ToolError
            For a simulator that cannot run it.
        """
        self.configuration(config_name)
        if channels is not None and not self.takes_channels:
            raise ConfigError(f"--channels and {self.block.name}: {self.block.counted}")
        if netlist is not None and netlist not in self.netlists:
            raise ConfigError(f"netlist {netlist!r}: choose from {_listed(self.netlists)}")
        if waves and netlist == "bitstream":
            raise ConfigError("--waves: a bitstream has no pads for all signals that they show")
        if simulator.name not in self.simulators:
            raise ToolError(f"{simulator.name}: does not run cocotb; take {' or '.join(self.simulators)}")
        if netlist and simulator.name not in COCOTB:
            raise ConfigError(f"{simulator.name}: takes no netlist, take {' or '.join(COCOTB)}")
        if netlist and self.waits_for_edges and simulator.name == "icarus":
            raise ConfigError(
                "icarus: a netlist glitches in it, and this bench waits for edges; take verilator"
            )

    def run(
        self,
        simulator: Simulator,
        *,
        config_name: str | None = None,
        channels: int | None = None,
        seed: int = 1,
        steps: int = 1500,
        netlist: Netlist | None = None,
        waves: Path | None = None,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        """The cocotb tests of the block's ports, where the simulator runs cocotb; then the long runs.

        Parameters
        ----------
        simulator : Simulator
        config_name : str, optional
            A key of `configs`, or a file; else `default`.
        channels : int, optional
            Where the bench takes them; else 1.
        seed : int
            Of the stimuli.
        steps : int
            Length of a long run; of the cocotb tests as their module says.
        netlist : {"ice40", "ecp5", "bitstream"}, optional
            Run the block as synthesised for this family, or as a bitstream of the iCE40 has it.
        waves : Path, optional
            Folder for waves: ``ports.vcd`` of the cocotb tests, and one of each long run.
            What fails is recorded, too.
        report : callable
            Told what passed.

        Raises
        ------
        BenchFailure
            At the first difference; the message has the seed and the command to repeat it.
        ConfigError
            For what the bench does not take, or a configuration that does not go with the channels.
        ToolError
            If the simulator is missing, fails, or cannot run this bench.
        """
        self.check(
            simulator, config_name=config_name, channels=channels, netlist=netlist, waves=waves is not None
        )
        name, count = config_name or self.default, channels or 1
        config = self.adapted(self.configuration(config_name), count)
        run = Run(
            simulator=simulator,
            config_name=name,
            config=config,
            channels=count,
            seed=seed,
            steps=steps,
            netlist=netlist,
            waves=waves,
            verilog=(self.emit or self._emit)(config, count, netlist),
            again=self._again(simulator, name, count, seed, steps, netlist),
        )
        if self.module is not None and isinstance(simulator, CocotbSimulator):
            design = (self.design or self._alone)(run)
            with Scratch() as folder, _kept_waves(folder, waves):
                simulator.run(
                    replace(design, traced=waves is not None),
                    self.module,
                    folder,
                    seed=seed,
                    given={
                        "MICROZONE_CONFIG": (self.config_text or _text)(run),
                        "MICROZONE_CHANNELS": str(count),
                        "MICROZONE_STEPS": str(steps),
                        "MICROZONE_SEED": str(seed),
                        "MICROZONE_AGAIN": run.again,
                    },
                )
            report(self.passed(run))
        for line in self.replays(run) if self.replays is not None else ():
            report(line)

    def _emit(self, config: Any, channels: int, netlist: Netlist | None) -> str:
        """The Verilog of the component, or of its netlist, from the cache where it is there."""
        assert netlist != "bitstream"  # for mypy: only benches with an `emit` of their own take it
        block = self.block
        return kept_verilog(lambda: block.component(config, channels), block.module, netlist=netlist)

    def _alone(self, run: Run) -> Design:
        return Design({f"{self.block.module}.sv": run.verilog}, self.block.module)

    def _again(
        self, simulator: Simulator, config: str, channels: int, seed: int, steps: int, netlist: str | None
    ) -> str:
        """The command that repeats a run, with the options that this bench takes."""
        words = ["microzone sim", self.block.name, "--simulator", simulator.name]
        words += ["--channels", str(channels)] if self.takes_channels else []
        words += ["--config", config] if len(self.configs) > 1 else []
        words += ["--seed", str(seed), "--steps", str(steps)]
        words += ["--netlist", netlist] if netlist else []
        return " ".join(words)


@contextmanager
def _kept_waves(folder: Path, waves: Path | None) -> Iterator[None]:
    """Bring the waves of the cocotb tests where they are wanted, also those of tests that fail."""
    try:
        yield
    finally:
        recorded = folder / TRACE
        if waves is not None and recorded.is_file():
            shutil.copyfile(recorded, waves / "ports.vcd")


def _text(run: Run) -> str:
    """The text of the configuration; none of a block that depends on none."""
    return "" if run.config is None else str(run.config.to_toml())


def _listed(names: Collection[str]) -> str:
    return ", ".join(names)
