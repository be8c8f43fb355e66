"""Whole sessions: the demo, the chip on a virtual preparation, drift of the IO rate, blanking."""
