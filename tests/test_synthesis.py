"""A smoke test on the iCE40 UP5K: the core synthesises, fits and meets the board's clock."""

from __future__ import annotations

import sys

import pytest
from microzone.boards.cost import CLOCK_HZ, microcircuit_cost
from microzone.boards.synthesis import chip_cost, main
from microzone.gateware.toolchain import ToolError, find_tool
from microzone.golden_model import ChipConfig
from microzone.golden_model.calibration.default import calibrated_config
from microzone.golden_model.config import ConfigError


def test_the_core_fits_the_up5k() -> None:
    cost = microcircuit_cost(ChipConfig.make())
    print(
        f"\nN = 1 on the iCE40 UP5K: {cost.logic_cells}/{cost.logic_cells_available} logic cells "
        f"({cost.wrapper_bits} of them the test wrapper's), {cost.dsps} DSPs, {cost.rams} RAMs, "
        f"Fmax {cost.fmax_hz / 1e6:.1f} MHz"
    )
    assert 0 < cost.logic_cells < cost.logic_cells_available / 2
    assert 0 < cost.dsps <= 8 and 0 < cost.rams <= 30
    assert cost.fmax_hz >= CLOCK_HZ


@pytest.mark.slow
def test_recalibration_fits_beside_it() -> None:
    """In half the UP5K, the core included, and without a DSP more."""
    cost = microcircuit_cost(calibrated_config())
    print(f"\nwith recalibration: {cost}")
    assert cost.logic_cells < cost.logic_cells_available / 2
    assert cost.dsps <= 4 and cost.rams <= 20 and cost.fmax_hz >= CLOCK_HZ


@pytest.mark.slow
def test_64_channels_and_no_dsp_fit_too() -> None:
    many = microcircuit_cost(ChipConfig.make(), 64)
    assert many.logic_cells < many.logic_cells_available and many.rams <= 30
    assert microcircuit_cost(ChipConfig.make(), dsp=False).dsps == 0


def test_any_block_is_counted_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    main(["link"])
    *_, row = capsys.readouterr().out.splitlines()
    name, cells, wrapper, *_ = row.split()
    used, available = map(int, cells.split("/"))
    assert name == "link" and int(wrapper) < used < available
    with pytest.raises(ConfigError, match="block 'cerebrum': choose from microcircuit, "):
        main(["cerebrum"])


@pytest.mark.slow
def test_a_chip_of_two_electrodes_fits_too() -> None:
    cost = chip_cost(ChipConfig.make())
    print(f"\nchip: {cost}")
    assert cost.logic_cells < cost.logic_cells_available and cost.dsps <= 8 and cost.rams <= 30
    assert cost.fmax_hz >= CLOCK_HZ


def test_a_missing_tool_says_how_to_get_it() -> None:
    with pytest.raises(ToolError, match="pip install yowasp-nextpnr-none"):
        find_tool("nextpnr-none")


def test_a_users_own_tool_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTPNR_ICE40", sys.executable)
    assert find_tool("nextpnr-ice40") == sys.executable
    monkeypatch.setenv("NEXTPNR_ICE40", "/their/own/nextpnr")
    with pytest.raises(ToolError, match=r"\$NEXTPNR_ICE40 is '/their/own/nextpnr', which is no program"):
        find_tool("nextpnr-ice40")
