"""Random configurations of CFPC: every kind of plant, controller, bases and trace."""

from __future__ import annotations

from typing import Any

from hypothesis import assume
from hypothesis import strategies as st
from microzone.golden_model import SQ
from microzone.golden_model.cfpc import CfpcConfig, FilterWords
from microzone.golden_model.cfpc.config import WIDEST
from microzone.golden_model.sections import ConfigError

STEP = 0.001


def steps(low: int, high: int) -> st.SearchStrategy[float]:
    return st.integers(low, high).map(lambda n: n * STEP)


def tau() -> st.SearchStrategy[float]:
    return st.floats(0.001, 0.05)


PLANTS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"leaks_s": st.lists(tau(), min_size=1, max_size=3), "gain": st.floats(-0.5, 0.5)}),
    st.fixed_dictionaries(
        {
            "leaks_s": st.none(),
            "gain": st.floats(0.1, 0.5),
            "numerator": st.tuples(st.floats(0.01, 1)),
            "denominator": st.tuples(st.floats(0.001, 0.1), st.just(1.0)),
            "method": st.sampled_from(["euler", "zoh", "bilinear"]),
        }
    ),
    st.fixed_dictionaries(
        {"leaks_s": st.none(), "impulse_response": st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=3)}
    ),
)
TRACES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({"trace": "forward-model"}),
    st.fixed_dictionaries({"trace": st.just("delay"), "delay_s": steps(0, 6)}),
    st.fixed_dictionaries(
        {
            "trace": st.just("low-order"),
            "delay_s": steps(0, 6),
            "leaks_s": st.lists(tau(), min_size=1, max_size=2),
        }
    ),
)
SIGNED = st.tuples(st.integers(1, 4), st.integers(2, 20)).map(lambda bits: SQ(*bits))


@st.composite
def configs(draw: st.DrawFn) -> CfpcConfig:
    """Configurations that are accepted, their formats wide enough for their coefficients."""
    fraction = draw(st.integers(4, 18))
    sections = {
        "task": {"trial_s": 0.06, "reference": ((0.01, 0.0), (0.03, draw(st.floats(-2, 2))))},
        "plant": draw(PLANTS),
        "controller": {
            "proportional": draw(st.floats(0.1, 1)),
            "integral": draw(st.sampled_from([0.0, 5.0, 20.0])),
            "delay_s": draw(steps(0, 6)),
        },
        "bases": {
            "count": draw(st.integers(1, 5)),
            "width_s": draw(st.floats(0.001, 0.02)),
            "spacing_s": draw(steps(1, 4)),
            "first_s": draw(st.floats(0, 0.03)),
            "shifted": draw(st.booleans()),
            "amplitude": draw(st.sampled_from([0.5, 1.0, 3.0])),
        },
        "eligibility": draw(TRACES),
        "learning": {"rate": 2.0 ** draw(st.integers(-10, 3))},
        "formats": {
            "signal": draw(SIGNED),
            "state": draw(SIGNED),
            "weight": draw(SIGNED),
            "coefficient": SQ(WIDEST - fraction, fraction),
            "weight_rounding": draw(st.sampled_from(["half-up", "floor"])),
        },
    }
    try:
        config = CfpcConfig.make(**sections)
        FilterWords.of(config)
    except ConfigError:  # an unstable loop, or coefficients that do not fit
        assume(False)
    return config
