"""Sampling: from seeds (SMILES, names, files) to the structures that the teacher labels."""
