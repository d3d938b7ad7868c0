"""The ground floor: errors, units, plans, registry, randomness, provenance, files and the console."""
