"""The tables of docs/ on CFPC: every field of its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from microzone.golden_model.cfpc import CfpcConfig

__all__ = ["CFPC_TABLES"]

_USES = {
    "time.step_s": "step of model and gateware",
    "time.clock_hz": "clock of the gateware",
    "task.name": "in titles and reports",
    "task.trial_s": "length of a trial",
    "task.reference": "points (s, value) that r goes through, straight",
    "plant.leaks_s": "time constants of leaky integrators in a row; or one of the next three",
    "plant.gain": "of the leaky integrators at rest; the others are multiplied by it",
    "plant.numerator": "of a transfer function in s, highest power first",
    "plant.denominator": "of the same",
    "plant.impulse_response": "a number a step, the first of the step itself",
    "plant.method": "how a transfer function becomes discrete: `euler`, `zoh`, `bilinear`",
    "controller.proportional": "kp",
    "controller.integral": "ki, in 1/s",
    "controller.delay_s": "delay of the feedback, inside the loop",
    "bases.amplitude": "of a Gaussian; no other basis may exceed it",
    "bases.count": "G",
    "bases.width_s": "standard deviation of a Gaussian",
    "bases.spacing_s": "from one basis to the next",
    "bases.first_s": "centre of the first",
    "bases.shifted": "all are delayed copies of the first: one forward model does for all",
    "eligibility.trace": "`forward-model` (FM-ET), `low-order`, or `delay` (WH)",
    "eligibility.delay_s": "of a low-order trace or of a delay; absent: fitted to the loop, or 0",
    "eligibility.leaks_s": "one or two time constants of a low-order trace; absent: fitted to the loop",
    "learning.rate": "η on-line, a power of two",
    "learning.batch_rate": "η in batch",
    "formats.signal": "error, bases, traces and output",
    "formats.state": "states of the forward model, each in a unit of its own",
    "formats.weight": "w",
    "formats.coefficient": "coefficients of the forward model",
    "formats.weight_rounding": "of the change of w: `half-up` or `floor`",
}


def configuration_table() -> str:
    """Every field, with its value in both tasks and its meaning."""
    pursuit, blink = (config.model_dump(mode="json") for config in (CfpcConfig.make(), CfpcConfig.blink()))
    rows = ["| section | field | pursuit | blink | what |", "| --- | --- | --- | --- | --- |"]
    described = set()
    for section, fields in pursuit.items():
        for name, value in fields.items():
            described.add(f"{section}.{name}")
            values = " | ".join(map(_shown, (value, blink[section][name])))
            rows.append(f"| `[{section}]` | `{name}` | {values} | {_USES[f'{section}.{name}']} |")
    assert set(_USES) == described, "a field that is described does not exist"
    return "\n".join(rows) + "\n"


def _shown(value: Any) -> str:
    return "absent" if value is None else f"`{value}`"


CFPC_TABLES: Mapping[str, Callable[[], str]] = {"cfpc-configuration": configuration_table}
"""What a marker can name."""
