"""Validation: checks measure, criteria judge, the verdict sums up and the report shows it."""
