"""From a training session to parameters: δp, δd, the eight coefficients, thresholds of the detection."""
