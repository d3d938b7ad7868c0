"""Benchmarking: how long a step takes, student and teacher side by side."""
