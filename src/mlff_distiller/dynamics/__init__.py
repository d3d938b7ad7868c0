"""Molecular dynamics over any Potential: initial velocities, NVE and Langevin runs of many systems at once."""
