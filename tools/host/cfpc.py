"""A CFPC board as its host sees it: an adaptive filter that a loop is closed around, a step at a time.

The plant runs here in floating point, the filter on the board (hardware in the loop). Each step is a request
over the serial line and the record that answers it; over USB that takes some milliseconds, so the loop runs
slower than its own time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import tomli_w

from ...gateware.cfpc.map import CFPC_MAGIC, cfpc_register_map
from ...gateware.link.frames import RecordKind
from ...gateware.registers.map import WORD_BITS
from ...golden_model.cfpc.config import CfpcConfig
from ...golden_model.cfpc.filter import AdaptiveFilter, Trial
from ...golden_model.cfpc.loop import LoopState
from ...golden_model.cfpc.stepped import close_by_steps
from ...golden_model.cfpc.systems import Reals
from ...golden_model.cfpc.words import FilterWords, Raw
from ...golden_model.files import FileError, atomic_write
from ...golden_model.inputs import read_toml
from .link import HostLink, LinkError, Transport

__all__ = ["CfpcBoard", "CfpcIdentity", "CfpcLink", "SavedWeights", "open_board"]

_UNSIGNED = (1 << WORD_BITS) - 1
_STEP_BITS = 16
"""Of the number of a step in a record."""


@dataclass(frozen=True)
class CfpcIdentity:
    """What a filter says of itself.

    Attributes
    ----------
    version : str
        Of its gateware.
    digest : str
        ``CfpcConfig.digest`` of the configuration that it is built with.
    identity : str
        Of its gateware, see ``gateware.identity.identity_of``.
    synapses, inputs : int
        G, and basis words a step.
    clock_hz : int
    """

    version: str
    digest: str
    identity: str
    synapses: int
    inputs: int
    clock_hz: int


class CfpcLink(HostLink):
    """The registers of a filter, over a transport; whatever it is built with.

    Parameters
    ----------
    transport : Transport
    config : CfpcConfig
        Gives the registers of weights and steps. Any will do for block ``control``.
    timeout_s, retries
        See :class:`HostLink`.
    """

    magic, what, device = CFPC_MAGIC, "CFPC filter", "filter"

    def __init__(
        self, transport: Transport, config: CfpcConfig, *, timeout_s: float = 0.05, retries: int = 4
    ) -> None:
        words = FilterWords.of(config)
        registers = cfpc_register_map(words.count, words.inputs)
        super().__init__(transport, registers, timeout_s=timeout_s, retries=retries)

    def identify(self) -> CfpcIdentity:
        """What the filter is; LinkError as :meth:`HostLink.who_is_there`."""
        version, digest, identity = self.who_is_there()
        geometry = self.read_fields("control.GEOMETRY")
        return CfpcIdentity(
            version=version,
            digest=digest,
            identity=identity,
            clock_hz=self.read("control.CLOCK_HZ"),
            **geometry,
        )


class CfpcBoard(AdaptiveFilter):
    """A filter on a board, over a link.

    Parameters
    ----------
    transport : Transport
    config : CfpcConfig
        What the board is built with.
    timeout_s, retries
        See :class:`HostLink`.

    Attributes
    ----------
    config : CfpcConfig
    words : FilterWords
    link : HostLink
        Any other register.
    steps : int
        Made by the filter since it was started anew, modulo 2**32.
    lost : int
        Outputs whose record did not come, and that were read once more.

    Raises
    ------
    LinkError
        If nothing answers, what answers is no CFPC filter, or it is built with another configuration; from
        each method, if the link or the filter does not do what it should.
    """

    def __init__(
        self, transport: Transport, config: CfpcConfig, *, timeout_s: float = 0.05, retries: int = 4
    ) -> None:
        self.config, self.words = config, FilterWords.of(config)
        self.link = CfpcLink(transport, config, timeout_s=timeout_s, retries=retries)
        self.lost = 0
        self.link.check_digest(self.link.identify().digest, config.digest)
        self.steps = self.link.read("control.STEPS")
        self._frozen = bool(self.link.read_fields("control.CONTROL")["freeze"])
        self._control()

    def identify(self) -> CfpcIdentity:
        """What the filter is."""
        return self.link.identify()

    # --- the filter -----------------------------------------------------------------------------

    @property
    def frozen(self) -> bool:
        """The weights stay."""
        return self._frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        self._frozen = frozen
        self._control()

    def reset(self) -> None:
        """Start the filter anew: weights, states and delay lines are 0."""
        self.link.write_fields("control.COMMAND", reset=1)
        self.steps = 0

    def step(self, error: int, inputs: Raw) -> int:
        """One step in raw words.

        Parameters
        ----------
        error : int
            In ``signal``.
        inputs : ndarray of int64, shape (1,) for shifted bases, else (G,)
            In ``signal``.

        Returns
        -------
        int
            o, in ``signal``.
        """
        self.link.forget_records()
        self.steps = (self.steps + 1) & _UNSIGNED
        self.link.write("step.BASIS[0]", *_words([*map(int, inputs), error]))
        return self._output()

    def close(self, loop: LoopState, reference: Reals, inputs: Reals) -> Trial:
        return close_by_steps(self.step, self.words.signal, loop, reference, inputs)

    @property
    def weights(self) -> Reals:
        """Real, shape (G,)."""
        return np.asarray(self.raw_weights * self.words.weight.lsb, np.float64)

    @property
    def raw_weights(self) -> Raw:
        """In raw words, shape (G,); what is set is read back and compared."""
        address = self.link.register("weights.WEIGHT[0]").address
        return _signed(self.link.read_many(address, self.words.count))

    @raw_weights.setter
    def raw_weights(self, weights: Raw) -> None:
        weights, fmt = np.asarray(weights), self.words.weight
        if weights.shape != (self.words.count,):
            raise ValueError(f"weights of shape {weights.shape}, the filter has {self.words.count} synapses")
        if weights.min() < fmt.raw_min or weights.max() > fmt.raw_max:
            raise ValueError(f"weights: {weights.min()} to {weights.max()}, outside {fmt}")
        self.link.write("weights.WEIGHT[0]", *_words([int(word) for word in weights]))
        if not np.array_equal(self.raw_weights, weights):
            raise LinkError("weights: the filter has others than were written")

    def save(self, path: Path | str) -> None:
        """Write the weights as TOML; FileError if that cannot be done."""
        saved = SavedWeights(self.config.digest, str(self.words.weight), tuple(map(int, self.raw_weights)))
        saved.save(path)

    def restore(self, path: Path | str) -> None:
        """Give the filter weights that were saved; FileError if they do not fit."""
        saved = SavedWeights.load(path)
        if saved.format != str(self.words.weight):
            raise FileError(f"{path}: weights in {saved.format}, those of the filter are {self.words.weight}")
        try:
            self.raw_weights = np.array(saved.words, np.int64)
        except (OverflowError, ValueError) as error:
            raise FileError(f"{path}: {error}") from None

    def _control(self) -> None:
        self.link.write_fields("control.CONTROL", freeze=int(self._frozen), tell=1)

    def _output(self) -> int:
        """What the step that was begun tells as its o, or, where that got lost, what the register has."""
        link, number = self.link, self.steps % (1 << _STEP_BITS)
        end = link.transport.now() + link.timeout_s
        while (left := end - link.transport.now()) > 0:
            for record in link.poll(left):
                if record.kind is RecordKind.STEP and record.step == number:
                    return int(_signed([record.data])[0])
        self.lost += 1
        output, steps = link.read("step.OUTPUT"), link.read("control.STEPS")
        if steps != self.steps:
            raise LinkError(f"the filter has made {steps} steps, not {self.steps}: it does not have one host")
        return int(_signed([output])[0])


@dataclass(frozen=True)
class SavedWeights:
    """What a filter has learnt.

    Attributes
    ----------
    digest : str
        Of the configuration of the filter.
    format : str
        Of the words.
    words : tuple of int
        Raw, one a synapse.
    """

    digest: str
    format: str
    words: tuple[int, ...]

    def save(self, path: Path | str) -> None:
        """Write them as TOML; FileError if that cannot be done."""
        facts = {"config_sha256": self.digest, "format": self.format, "words": list(self.words)}
        with atomic_write(path) as file:
            file.write(tomli_w.dumps(facts).encode())

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Those of a file; FileError if it has none."""
        facts = read_toml(path)
        kinds = {"config_sha256": str, "format": str, "words": list}
        for name, kind in kinds.items():
            if not isinstance(facts.get(name), kind):
                raise FileError(f"{path}: {name}: missing, or no {kind.__name__}")
        if not all(type(word) is int for word in facts["words"]):
            raise FileError(f"{path}: words: not all are integers")
        return cls(facts["config_sha256"], facts["format"], tuple(facts["words"]))


@contextmanager
def open_board(config: CfpcConfig, port: str | None = None, baud: int = 1_000_000) -> Iterator[CfpcBoard]:
    """The filter on the board at a serial port; as it is, see :meth:`CfpcBoard.reset`.

    Parameters
    ----------
    config : CfpcConfig
        What the board is built with, the TOML beside its bitstream.
    port : str, optional
        Else the only USB serial port that there is.
    baud : int

    Raises
    ------
    LinkError
        If the port cannot be opened, and as :class:`CfpcBoard`.
    """
    from .serial import SerialTransport, find_port

    transport = SerialTransport(port or find_port(), baud)
    try:
        yield CfpcBoard(transport, config)
    finally:
        transport.close()


def _words(raw: Sequence[int]) -> list[int]:
    """In two's complement."""
    return [word & _UNSIGNED for word in raw]


def _signed(words: Sequence[int]) -> Raw:
    return np.array(words, np.uint32).view(np.int32).astype(np.int64)
