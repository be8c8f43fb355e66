"""A chip, as its host sees it: what it is, its parameters, commands, heartbeats, what it reports by itself.

What carries the bytes is a :class:`Transport`: a serial port (``serial_transport``), or the simulated board
of ``sim``, in which time is simulated too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ...gateware.amplifier.amplifier import AmplifierFault
from ...gateware.link.frames import RecordKind
from ...gateware.microcircuit.parameters import PLASTIC, Parameter
from ...gateware.registers.map import register_map
from ...gateware.stimulation.interlock import InterlockFault
from ...golden_model.config import ChipConfig
from ...golden_model.fixed import to_real
from .faults import UnknownFault, fault_of
from .link import HostLink, LinkError, Transport, runs
from .parameters import (
    RegisterWord,
    Weights,
    check_loadable,
    parameter_groups,
    raw_word,
    word_format,
)

__all__ = ["Host", "Identity", "LinkError", "Transport"]

_COMMIT_S = 1.0
"""A commit is over with the next step."""
_START_S = 5.0
"""The front end's set-up takes less."""
_HEARTBEATS = 4
"""In the time of the watchdog."""


@dataclass(frozen=True)
class Identity:
    """What a chip says of itself.

    Attributes
    ----------
    version : str
        Of its gateware.
    digest : str
        ``ChipConfig.digest`` of the configuration that it is built with.
    identity : str
        Of its gateware, see ``gateware.identity.identity_of``.
    circuits, electrodes : int
    recalibration, bandpass : bool
    clock_hz : int
    """

    version: str
    digest: str
    identity: str
    circuits: int
    electrodes: int
    recalibration: bool
    bandpass: bool
    clock_hz: int


class Host(HostLink):
    """A chip, over a link.

    Parameters
    ----------
    transport : Transport
    config : ChipConfig, optional
        What the chip is built with: gives the registers of its parameters, and their formats. The default
        one will do for block ``control``.
    timeout_s, retries
        See :class:`HostLink`.

    Attributes
    ----------
    config : ChipConfig
    """

    def __init__(
        self,
        transport: Transport,
        config: ChipConfig | None = None,
        *,
        timeout_s: float = 0.05,
        retries: int = 4,
    ) -> None:
        self.config = ChipConfig.make() if config is None else config
        self._next_heartbeat: float | None = None
        super().__init__(transport, register_map(self.config), timeout_s=timeout_s, retries=retries)

    def close(self) -> None:
        """Disarm, if the link lets it, and let go of the transport."""
        if self._next_heartbeat is not None:
            with suppress(LinkError):
                self.disarm()
        self.transport.close()

    def value(self, path: str) -> float:
        """The real value of a parameter, see :meth:`value_of`."""
        return self.value_of(path, self.read(path))

    def value_of(self, path: str, word: int) -> float:
        """What a register's word stands for, in the format that the configuration gives it."""
        fmt = word_format(self.config, path)
        return float(word if fmt is None else to_real(raw_word(word, fmt), fmt))

    # --- the chip -------------------------------------------------------------------------------

    def identify(self) -> Identity:
        """What the chip is.

        Raises
        ------
        LinkError
            If nothing answers, what answers is no microzone, or it speaks another version of the protocol.
        """
        version, digest, identity = self.who_is_there()
        geometry = self.read_fields("control.GEOMETRY")
        return Identity(
            version=version,
            digest=digest,
            identity=identity,
            circuits=geometry["circuits"],
            electrodes=geometry["electrodes"],
            recalibration=bool(geometry["recalibration"]),
            bandpass=bool(geometry["bandpass"]),
            clock_hz=self.read("control.CLOCK_HZ"),
        )

    def check_built(self) -> Identity:
        """:meth:`identify`; LinkError unless the chip is built with this host's configuration."""
        found = self.identify()
        self.check_digest(found.digest, self.config.digest)
        return found

    def command(self, *names: str) -> None:
        """Pulses of register COMMAND, by the names of its fields."""
        self.write_fields("control.COMMAND", **dict.fromkeys(names, 1))

    def faults(self) -> tuple[InterlockFault | UnknownFault, AmplifierFault | UnknownFault]:
        """What has stopped the stimulation, and the front end."""
        fields = self.read_fields("control.FAULT")
        return (
            fault_of(InterlockFault, fields["stimulation"]),
            fault_of(AmplifierFault, fields["amplifier"]),
        )

    def enable(self, on: bool = True) -> None:
        """Let the front end run, and wait until it does; LinkError if it does not come up."""
        self.write_fields("control.CONTROL", enable=int(on))
        end = self.transport.now() + _START_S
        while on and not self.read_fields("control.STATUS")["running"]:
            fault = self.faults()[1]
            if fault is not AmplifierFault.NONE or self.transport.now() > end:
                raise LinkError(f"the front end does not come up: {fault.name}")
            self._receive(self.timeout_s)  # what comes meanwhile waits for its reader

    def arm(self) -> None:
        """Arm the stimulation, and send heartbeats from now on; LinkError if it does not stay armed.

        Heartbeats leave with :meth:`poll` and with every request, not by themselves.
        """
        self.command("heartbeat", "arm")
        if not self.read_fields("control.STATUS")["armed"]:
            raise LinkError(f"the stimulation does not arm: {self.faults()[0].name}")
        self._next_heartbeat = self.transport.now() + self._heartbeat_s

    def disarm(self) -> None:
        """Disarm the stimulation; no more heartbeats."""
        self.stand_down()
        self.command("disarm")

    def stand_down(self) -> None:
        """No more heartbeats: the chip's watchdog will disarm the stimulation, link or no link."""
        self._next_heartbeat = None

    def heartbeat(self) -> None:
        """Tell the watchdog that the host is there."""
        if self._next_heartbeat is not None:
            self._next_heartbeat = self.transport.now() + self._heartbeat_s
        self.write_fields("control.COMMAND", heartbeat=1)

    @property
    def _heartbeat_s(self) -> float:
        return self.config.stimulation.watchdog_s / _HEARTBEATS

    def _beat(self) -> None:
        if self._next_heartbeat is not None and self.transport.now() >= self._next_heartbeat:
            self.heartbeat()

    # --- parameters -----------------------------------------------------------------------------

    def load(self, wanted: ChipConfig, *, weights: bool = False) -> bool:
        """Make a running chip one of another configuration, where registers can; read back all of it.

        Parameters
        ----------
        wanted : ChipConfig
        weights : bool
            With ``weight.initial``; else w stays as it was learnt.

        Returns
        -------
        bool
            Whether all was in effect by the first sample of the step for which it was meant: with many
            electrodes, the words of some may come during it.

        Raises
        ------
        ConfigError
            If the configurations differ in what no register changes.
        LinkError
            If the chip then has something else.
        """
        check_loadable(self.config, wanted)
        without = () if weights else (Parameter.WEIGHT,)
        in_time = self.put(parameter_groups(wanted, without=without))
        self.verify(wanted, without=without)
        return in_time

    def put(self, groups: Sequence[Sequence[RegisterWord]]) -> bool:
        """Groups of words through the shadow into effect, as many at a time as it holds.

        Returns
        -------
        bool
            Whether they were in effect by the first sample of the step for which they were meant.
        """
        self.command("discard")
        capacity = self.read_fields("control.SHADOW")["capacity"]
        in_time = True
        for portion in _portions(groups, capacity):
            for run in runs([self.register(word.path) for word in portion]):
                words = {word.path: word.word for word in portion}
                self.write_many(run[0].address, [words[register.path] for register in run])
            in_time &= self.commit()
        return in_time

    def commit(self) -> bool:
        """Put the shadow into effect, between two steps; False if detection got its words late."""
        self.command("commit")
        end = self.transport.now() + _COMMIT_S
        while (status := self.read_fields("control.STATUS"))["committing"]:
            if self.transport.now() > end:
                raise LinkError("a commit does not end: the chip makes no steps")
        return not status["late"]

    def verify(self, wanted: ChipConfig, *, without: Collection[Parameter] = (Parameter.WEIGHT,)) -> None:
        """LinkError, naming the register, unless the chip's parameters are those of a configuration.

        Those in `without` may be anything; and, once steps are made, what recalibration changes.
        """
        if wanted.recalibration.enabled and self.read("control.STEPS"):
            without = {*without, Parameter.POTENTIATION, Parameter.DEPRESSION}
        self._verify(word for group in parameter_groups(wanted, without=without) for word in group)

    def _verify(self, words: Iterable[RegisterWord]) -> None:
        wanted = {word.path: word for word in words}
        for path, read in self.read_words(wanted).items():
            if not wanted[path].equals(read):
                raise LinkError(f"register {path} = {read:#x}: should be {wanted[path].word:#x}")

    def weights(self) -> Weights:
        """What the microcircuits have learnt."""
        circuits = range(len(self.config.electrodes.pn))
        words = self.read_words(f"circuits[{c}].{p.name}" for c in circuits for p in PLASTIC)
        return Weights.of(
            self.config, {p: [words[f"circuits[{c}].{p.name}"] for c in circuits] for p in PLASTIC}
        )

    def restore(self, weights: Weights, *, other_config: bool = False) -> None:
        """Give the microcircuits what they had learnt, before the front end runs.

        Raises
        ------
        FileError
            If the weights are another chip's, see :meth:`Weights.check_fits`.
        LinkError
            If the chip is running, or then has something else.
        """
        weights.check_fits(self.config, other_config=other_config)
        if self.read_fields("control.STATUS")["running"]:
            raise LinkError("the chip is running and learns: disable the front end before w is restored")
        self.put(weights.groups)
        self._verify(word for group in weights.groups for word in group)

    # --- telemetry ------------------------------------------------------------------------------

    def report(self, *kinds: RecordKind, changes_of_w: bool = True) -> None:
        """Ask for records of these kinds, and no others."""
        mask = sum(1 << kind for kind in set(kinds))
        self.write("control.TELEMETRY", mask | int(changes_of_w and RecordKind.STEP in kinds))


def _portions(groups: Sequence[Sequence[RegisterWord]], capacity: int) -> Iterator[list[RegisterWord]]:
    """As many whole groups at a time as the shadow holds."""
    portion: list[RegisterWord] = []
    for group in groups:
        if len(group) > capacity:
            raise LinkError(f"SHADOW.capacity = {capacity}: needs {len(group)} for {group[0].path}")
        if len(portion) + len(group) > capacity:
            yield portion
            portion = []
        portion += group
    if portion:
        yield portion
