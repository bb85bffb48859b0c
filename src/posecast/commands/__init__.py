"""The commands, one call each. Heavy imports stand inside them, so that `--help` starts at once."""
