"""Checks: each measures one aspect of a student; none of them judges."""
