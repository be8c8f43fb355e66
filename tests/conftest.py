"""Shared by all tests: where the real recording is, and a build cache that outlives the run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

RECORDING = Path(__file__).resolve().parents[2] / "shared" / "recordings" / "purkinje_06-11.mat"

# Derandomised: a failure repeats; print_blob says how.
settings.register_profile(
    "microzone", deadline=None, derandomize=True, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "microzone"))


@pytest.fixture
def recording() -> Path:
    if not RECORDING.is_file():
        pytest.skip(f"no real recording at ../shared/recordings/{RECORDING.name}")
    return RECORDING
