"""Structures, labels, graphs and neighbor lists; only ``graph`` and ``batch_neighbors`` load torch when imported."""
