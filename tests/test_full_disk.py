"""A disk that fills while a simulation writes: one line, never a short record that passes for a whole one."""

from __future__ import annotations

from pathlib import Path

import pytest
from microzone.gateware.scratch import Scratch
from microzone.gateware.toolchain import ToolError
from microzone.golden_model.chip import ChipTiming
from microzone.sim.fuzz import link as fuzz_module
from microzone.sim.fuzz.link import fuzz_link
from microzone.sim.loop import chip as chip_module
from test_chip import CONFIGS, make, noise, replay
from test_link import entries_of

SLOW = pytest.mark.slow
FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full, which answers as a full disk does")


def full_scratch(name: str) -> type[Scratch]:
    """Folders in which one file can be opened, and takes nothing."""

    class FullScratch(Scratch):
        def __init__(self) -> None:
            super().__init__()
            (self.path / f"{name}.bin").symlink_to(FULL)

    return FullScratch


@pytest.mark.parametrize(
    "name",
    [
        "commits",
        *(pytest.param(name, marks=SLOW) for name in ("edges", "detections", "blanked", "delivered")),
    ],
)
def test_a_log_of_the_chip_that_cannot_be_written(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chip_module, "Scratch", full_scratch(name))
    config = make(**CONFIGS["default"])
    samples = noise(config, 1000 * ChipTiming(config).frames_per_step, seed=4)
    with pytest.raises(ToolError, match=r"no space in .*microzone-.*, or it cannot be written"):
        replay(config, samples)


@pytest.mark.parametrize(
    "name", ["sent", *(pytest.param(name, marks=SLOW) for name in ("frames", "bus", "pushed"))]
)
def test_a_log_of_the_fuzzer_that_cannot_be_written(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_module, "Scratch", full_scratch(name))
    with pytest.raises(ToolError, match="the fuzzer cannot use its files; is there space left"):
        fuzz_link(entries_of(1, 20_000), seed=1, wait=True)
