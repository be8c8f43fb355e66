"""Recorded events through the gateware, compared with the fixed-point model in every step."""
