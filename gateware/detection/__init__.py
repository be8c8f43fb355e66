"""Event detection on the samples of the electrodes."""
