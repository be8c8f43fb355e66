"""Pulse trains to the stimulator, and the interlocks before it."""
