"""Experiments: grids of settings that are planned, run, and compared as numbers."""
