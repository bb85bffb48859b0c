"""The conditional VAE: the bound, two sets of networks, and the predictor that carries them through time."""
