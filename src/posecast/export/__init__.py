"""Trained runs in forms that other programs read. Next: `graphs.py`."""
