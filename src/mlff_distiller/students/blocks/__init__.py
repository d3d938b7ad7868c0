"""Building blocks that student architectures share."""
