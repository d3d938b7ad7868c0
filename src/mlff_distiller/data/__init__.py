"""Data: the store of labeled structures, its split, its statistics and the loader of training batches."""
