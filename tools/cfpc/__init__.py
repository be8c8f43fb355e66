"""``microzone cfpc``: a task of CFPC on float, fixed point and gateware, told and drawn."""
