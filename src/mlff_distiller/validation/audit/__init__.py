"""The audit of a teacher: what its numbers are worth, measured before a single label is paid for."""
