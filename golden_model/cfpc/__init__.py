"""Counterfactual predictive control (CFPC): an adaptive filter with a forward model at each synapse.

Source: Herreros, Arsiwalla and Verschure, "A forward model at Purkinje cell synapses facilitates cerebellar
anticipatory control", NIPS 2016.
"""

from .config import CfpcConfig, Trace
from .filter import AdaptiveFilter, AdaptiveFilterFloat, Course, Trial, run_trials
from .fixed_filter import AdaptiveFilterFixed
from .lag import Lag
from .learning import RULES, Batch, Problem, Stability, rule
from .loop import Loop, LoopState, measured_transfer_matrix
from .low_order import low_order
from .systems import StateSpace, discrete, leaks, proportional_integral
from .words import FilterWords

__all__ = [
    "RULES",
    "AdaptiveFilter",
    "AdaptiveFilterFixed",
    "AdaptiveFilterFloat",
    "Batch",
    "CfpcConfig",
    "Course",
    "FilterWords",
    "Lag",
    "Loop",
    "LoopState",
    "Problem",
    "Stability",
    "StateSpace",
    "Trace",
    "Trial",
    "discrete",
    "leaks",
    "low_order",
    "measured_transfer_matrix",
    "proportional_integral",
    "rule",
    "run_trials",
]
