"""The microcircuit and its recalibration."""
