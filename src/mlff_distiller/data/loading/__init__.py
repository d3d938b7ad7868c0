"""Loading: data sets, transforms, order and batches for training."""
