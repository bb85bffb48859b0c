"""Networks, priors, ELBO, predictor, rollout, weights on disk."""
