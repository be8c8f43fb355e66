"""Simulators, cocotb benches, and what they share: drivers, monitors, scenarios, the replay of sessions."""
