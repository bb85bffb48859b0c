"""Runs and experiments as pages."""
