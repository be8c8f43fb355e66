"""Random bytes and faults on the link."""
