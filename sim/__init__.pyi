from .benches.run import BlockBench as BlockBench
from .blocks import BENCHES as BENCHES
from .build.simulators import (
    SIMULATORS as SIMULATORS,
)
from .build.simulators import (
    CocotbSimulator as CocotbSimulator,
)
from .build.simulators import (
    Simulator as Simulator,
)
from .build.simulators import (
    find_simulator as find_simulator,
)
from .failure import BenchFailure as BenchFailure
from .loop.cfpc_loop import AdaptiveFilterRtl as AdaptiveFilterRtl
from .loop.chip import RtlChip as RtlChip
from .loop.chip import build_chip as build_chip
from .loop.chip_record import ChipRecord as ChipRecord
from .loop.closed_loop import run_closed_loop as run_closed_loop
from .loop.closed_loop import with_slowest_clock as with_slowest_clock
from .loop.simulated_board import SimulatedBoard as SimulatedBoard
from .loop.simulated_board import electrodes_of as electrodes_of
from .loop.simulated_cfpc import SimulatedCfpc as SimulatedCfpc
from .replay.detection_replay import DetectionScenario as DetectionScenario
from .replay.detection_replay import replay_detection as replay_detection
from .replay.record import Session as Session
from .replay.replay import Scenario as Scenario
from .replay.replay import expected_signals as expected_signals
from .replay.replay import replay_session as replay_session
from .replay.scenarios import scenarios as scenarios
