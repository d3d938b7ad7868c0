"""Labeling: structures and a teacher become a store of labels; refusals are counted, nothing is lost."""
