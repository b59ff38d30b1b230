"""Measurements: one module per suite; each fills its part of a run's results."""
