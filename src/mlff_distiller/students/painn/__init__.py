"""PaiNN: its settings in ``plan``, the network in ``network``."""
