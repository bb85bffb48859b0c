"""Reports of runs and experiments as HTML pages."""
