"""The loop, one step, schedules, budget, resumable state, processes."""
