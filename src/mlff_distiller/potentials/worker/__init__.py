"""A potential in a process of its own, of this or another Python environment: it may crash, hang and clash there."""
