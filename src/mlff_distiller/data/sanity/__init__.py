"""Sanity of structures and labels: what cannot be right, and what is so unlike the rest that it should be looked at."""
