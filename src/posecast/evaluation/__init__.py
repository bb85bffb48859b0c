"""Evaluation: metrics, baselines, posterior, calibration and scores of rollouts."""
