"""Estimators of an objective's gradient from log-weights, one a file."""
