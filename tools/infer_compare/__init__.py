"""Circuits compared over the same draws: study, pictures, report."""
