"""Objectives over log-weights, one a file."""
