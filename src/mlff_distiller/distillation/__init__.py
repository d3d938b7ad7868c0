"""Distillation: training a student on a teacher's labels, with exact resume."""
