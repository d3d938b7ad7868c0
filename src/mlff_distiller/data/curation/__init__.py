"""Curation: new data sets from old ones, merged, filtered or selected, and what a data set holds."""
