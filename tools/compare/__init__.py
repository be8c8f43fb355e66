"""Float, fixed point and gateware side by side on the same events."""
