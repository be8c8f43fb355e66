"""The blanking experiment: what each mode costs of the IO channel, and what it does to the rate estimate.

Source: Herreros et al. 2014, "Discussion": the IO was masked for 2 s after each CR, and a mask timed to the
pulses is named as the cure. ``python -m microzone.tools.sessions.blanking`` prints the table of
docs/blocks/stimulation.md.
"""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from ...golden_model.config import BlankingMode, ChipConfig
from ...golden_model.experiment.protocol import Protocol, Trial
from ...sim.loop.closed_loop import with_slowest_clock
from .chip_session import ChipSession

__all__ = ["run_blanking"]

_READY_WEIGHT = 0.28
"""A w that responds from the first trial on."""


def run_blanking(seed: int, trials: int, console: Console) -> dict[str, dict[str, Any]]:
    """The same session in each mode, on the fixed-point chip; the facts of each, by mode.

    Parameters
    ----------
    seed : int
        Of the preparation and the amplifier.
    trials : int
        Paired ones; w starts low enough to respond in the first.
    console : rich.console.Console
        For the progress bars.

    Returns
    -------
    dict of str to dict
        ``ChipSession.facts`` by the name of the mode.
    """
    protocol = Protocol(trials=(Trial.PAIRED,) * trials)
    facts = {}
    for mode in BlankingMode:
        config = with_slowest_clock(
            ChipConfig.make(weight={"initial": _READY_WEIGHT}, blanking={"mode": mode.value})
        )
        facts[mode.value] = ChipSession.run("fixed", config, protocol, seed, console=console).facts()
    return facts


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    columns = ("blanking", "trains", "not heard, ms a train", "artefacts", "rate", "uncorrected", "true")
    print("| " + " | ".join(columns) + " |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for mode, found in run_blanking(given.seed, given.trials, Console(stderr=True)).items():
        print(
            f"| {mode} | {found['trains']} | {found['dead_ms_a_train']:.1f} | {found['io_artefacts']} | "
            f"{found['io_rate_hz']:.3f} | {found['io_rate_uncorrected_hz']:.3f} | "
            f"{found['io_rate_true_hz']:.3f} |"
        )


if __name__ == "__main__":
    main()
