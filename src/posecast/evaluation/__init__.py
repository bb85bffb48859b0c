"""Rollouts judged: metrics, baselines, posterior, calibration, scores."""
