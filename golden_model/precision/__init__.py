"""What fixed point costs: ranges, errors, the first decision that rounding changes, and why."""
