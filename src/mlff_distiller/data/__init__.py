"""Data: the store of labelled structures, its split, its statistics and the loader of training batches."""
