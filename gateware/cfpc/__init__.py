"""The adaptive filter of CFPC, its registers, and the filter with a link."""
