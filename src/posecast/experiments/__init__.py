"""Grids planned, run, compared as numbers."""
