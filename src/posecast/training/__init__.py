"""Training of a run: the loop, one update, schedules, budgets, resumable states, processes."""
