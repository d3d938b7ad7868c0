"""Sections of the report, one for each kind of evidence."""
