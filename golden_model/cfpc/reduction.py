"""A forward model of low order: a delay and one or two leaky integrators in place of the closed loop."""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

from .loop import Loop
from .systems import Reals, StateSpace

__all__ = ["low_order"]

_LONGEST = 1e4
"""Steps of a time constant."""


def low_order(loop: Loop, steps: int, order: int = 2) -> Loop:
    """A delay with one or two leaks whose impulse response is nearest to that of a loop.

    Parameters
    ----------
    loop : Loop
    steps : int
        Of the impulse response that are compared.
    order : {1, 2}
        Leaks.

    Returns
    -------
    Loop
        Without feedback, and with the loop's own gain at rest.

    Raises
    ------
    ValueError
        For another order, or a loop that answers nothing within `steps`.
    """
    if order not in (1, 2):
        raise ValueError(f"order = {order}: 1 or 2")
    wanted = loop.impulse_response(steps)
    if not wanted.any():
        raise ValueError(f"loop: no answer to a pulse within {steps} steps")
    gain = float(wanted.sum())
    first = int(np.flatnonzero(wanted)[0])

    def chain(log_rates: Reals) -> StateSpace:
        """Leaks with rates 1/τ, in steps; below 1 each."""
        rates = 1 / (1 + np.exp(-log_rates))
        b, c = np.zeros(order), np.zeros(order)
        b[0], c[-1] = gain * rates[0], 1.0
        return StateSpace(np.diag(1 - rates) + np.diag(rates[1:], -1), b, c)

    def missed(log_rates: Reals, delay: int) -> Reals:
        return Loop(chain(log_rates), delay, feedback=False).impulse_response(steps) - wanted

    # A leak answers a step late, so the delay may begin before the first answer; it ends at the peak.
    limit = np.log(_LONGEST)
    best = None
    for delay in range(max(first - order, 0), int(np.argmax(np.abs(wanted))) + 1):
        found = least_squares(missed, np.full(order, -3.0), args=(delay,), bounds=(-limit, limit))
        if best is None or found.cost < best[0]:
            best = found.cost, delay, found.x
    assert best is not None
    return Loop(chain(best[2]), best[1], feedback=False)
