"""Proofs, one module a subject."""
