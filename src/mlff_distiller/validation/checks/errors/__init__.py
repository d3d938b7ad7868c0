"""Errors of a potential against reference labels: forces, energies, stress."""
