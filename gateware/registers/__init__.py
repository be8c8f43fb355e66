"""The chip's register map, and the register file that is made from it."""
