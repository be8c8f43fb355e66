"""The numbers of a virtual preparation: electrodes, neurons, artefact, eyelid. Parts of ``preparation``."""

from __future__ import annotations

from dataclasses import dataclass

from .spikes import ComplexSpike, Latency, Units, check_settings

__all__ = ["Artefact", "Eyelid", "PreparationSettings"]

_PN_UNITS = Units(number=12, amplitude_uv=60.0, spread=0.25, rate_hz=0.5, response_hz=200.0)
_IO_UNITS = Units(number=3, amplitude_uv=25.0, spread=0.3, rate_hz=5.0, response_hz=0.0)
_PN_LATENCY = Latency(mean_s=0.09, sd_s=0.02)
_IO_LATENCY = Latency(mean_s=0.058, sd_s=0.03)
_COMPLEX_SPIKE = ComplexSpike()


@dataclass(frozen=True)
class Artefact:
    """What the stimulation leaves on the electrodes.

    Parameters
    ----------
    pn_uv, io_uv : float
        u of each site: the voltage during a long pulse is that times 1 and the two shares.
    decay_share, tail_share : float
        s₁ and s₂.
    decay_s, tail_s : float
        Time constants of f₁ and f₂.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    pn_uv: float = 10.0
    io_uv: float = 3000.0
    decay_share: float = 1.0
    tail_share: float = 0.25
    decay_s: float = 3e-4
    tail_s: float = 5e-3

    def __post_init__(self) -> None:
        limits = {
            "pn_uv": (0.0, 1e6),
            "io_uv": (0.0, 1e6),
            "decay_share": (0.0, 10.0),
            "tail_share": (0.0, 10.0),
        }
        check_settings(self, "Artefact", limits | {"decay_s": (1e-6, 1.0), "tail_s": (1e-6, 1.0)})


@dataclass(frozen=True)
class Eyelid:
    """How the eyelid answers the stimulation of the facial nucleus, and what that is good for.

    Parameters
    ----------
    latency_s : float
        From a pulse to the onset of the movement.
    time_constant_s : float
        Of both poles of the low-pass.
    gain : float
        Closure, were it not saturated, if the cathodic phase were always on: 1.2 at a duty of 0.008, that of
        pulses of 0.1 ms at 80 Hz.
    protection : float
        Share of the US-evoked IO response that a full closure at the US takes away.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    latency_s: float = 0.01
    time_constant_s: float = 0.015
    gain: float = 150.0
    protection: float = 0.5

    def __post_init__(self) -> None:
        limits = {"latency_s": (0.0, 1.0), "time_constant_s": (1e-4, 1.0), "gain": (0.0, 1e6)}
        check_settings(self, "Eyelid", limits | {"protection": (0.0, 1.0)})


@dataclass(frozen=True)
class PreparationSettings:
    """Everything about a preparation that is in neither configuration nor protocol.

    Parameters
    ----------
    background_uv : float
        Noise of electrode, tissue and far units on every electrode, rms in the amplifier's band; white.
    pn_units, io_units : Units
        Near units of an electrode of each site.
    pn_latency : Latency
        From the CS to the onset of an evoked response.
    pn_response_s : (float, float, float)
        Rise, hold and fall of a response, in straight lines.
    io_latency : Latency
        From the US to an evoked complex spike.
    io_refractory_s : float
        After a complex spike, spontaneous or evoked, no spontaneous one comes for this long.
    complex_spike : ComplexSpike
    artefact : Artefact
    eyelid : Eyelid

    Raises
    ------
    ValueError
        If a value is out of range; the message names field, value and limits.
    """

    background_uv: float = 8.0
    pn_units: Units = _PN_UNITS
    io_units: Units = _IO_UNITS
    pn_latency: Latency = _PN_LATENCY
    pn_response_s: tuple[float, float, float] = (0.005, 0.025, 0.01)
    io_latency: Latency = _IO_LATENCY
    io_refractory_s: float = 0.1
    complex_spike: ComplexSpike = _COMPLEX_SPIKE
    artefact: Artefact = Artefact()
    eyelid: Eyelid = Eyelid()

    def __post_init__(self) -> None:
        limits = {"background_uv": (0.0, 1e4), "pn_response_s": (1e-4, 0.2), "io_refractory_s": (0.0, 10.0)}
        check_settings(self, "PreparationSettings", limits)
