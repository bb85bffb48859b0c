"""Configuration of a run: settings, named recipes, and overrides from a file or the command line."""
