"""cocotb test modules; they run inside a simulator and are started by ``microzone sim`` and by pytest."""
