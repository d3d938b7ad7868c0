"""Splits: training, validation and test sets that share nothing, and their files."""
