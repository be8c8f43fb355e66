"""Boards that stand in for the VLSI prosthesis, and the synthesis for them."""
