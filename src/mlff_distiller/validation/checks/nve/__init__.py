"""Constant-energy dynamics: does it run, and does it keep the total energy."""
