"""Structures, labels, graphs and neighbor lists. Importing a module here loads torch only for ``graph``."""
