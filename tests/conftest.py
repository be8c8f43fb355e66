"""Shared by all tests: where the real recording is, and the command line in the test's process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import platformdirs
import pytest
from hypothesis import HealthCheck, settings
from microzone.tools.cli import main as cli
from microzone.tools.report import output

RECORDING = Path(__file__).resolve().parents[2] / "shared" / "recordings" / "purkinje_06-11.mat"

# Derandomised: a failure repeats; print_blob says how.
settings.register_profile(
    "microzone", deadline=None, derandomize=True, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "microzone"))

# In the background, and below `nohup`, these are ignored: so would what tests start and then end by them.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

# A test with a cache of its own would have YoWASP compile its tools anew, for a minute each.
os.environ.setdefault("YOWASP_CACHE_DIR", platformdirs.user_cache_dir("YoWASP", appauthor=False))

EXTRA = "needs the extra `inference`: make inference"
"""Why a test of what torch, sbi or zuko do is skipped."""


@pytest.fixture
def recording() -> Path:
    if not RECORDING.is_file():
        pytest.skip(f"no real recording at ../shared/recordings/{RECORDING.name}")
    return RECORDING


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the folder is not there yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MICROZONE_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line of progress comes between the lines that a test counts, however slow the machine is."""
    monkeypatch.setattr(output, "EVERY_S", 3600.0)


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def microzone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Run the command line in this process, in an empty folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr("warnings.showwarning", None)  # restored after main() has set its own

    def call(*args: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["microzone", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return call
