"""Physicality: what holds for every potential energy surface, whatever its teacher says."""
