"""Which parameters give a behaviour: maximum entropy, degenerate solution networks, neural posteriors."""
