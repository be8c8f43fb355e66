"""Gateware in a loop with models of the world around it: amplifiers, a preparation, a plant, a host."""
