"""Recipes: the whole pipeline as one plan, run in one directory."""
