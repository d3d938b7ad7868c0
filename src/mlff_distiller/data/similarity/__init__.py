"""Similarity: descriptors, fingerprints and bonds; which structures are alike, the same, or the same molecule."""
