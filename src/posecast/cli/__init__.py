"""One file for each group of commands, flags, bars, tables, the demo."""
