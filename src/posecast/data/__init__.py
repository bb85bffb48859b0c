"""Footage, wherever it comes from, as Recordings; see `recordings.py`."""
