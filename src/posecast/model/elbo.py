"""Terms of the evidence lower bound: Gaussians, KL divergence, likelihood and loss.

In: means, log variances, squared errors. Out: rate and distortion in nats per frame, and the loss.
Independent of networks and of time. docs/explanation/theory.md derives the bound with the same names.
Next: `predictor.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """Diagonal Gaussian; both tensors have one shape, `[N, ...]`."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return a sample by reparameterisation (Kingma and Welling 2014, section 2.4).

        Args:
            noise: Draws from N(0, I) in the shape of `mean`.
        """
        return self.mean + torch.exp(0.5 * self.log_variance) * noise


def bounded_log_variance(raw: Tensor, limit: float = 8.0) -> Tensor:
    """Map any real number smoothly into (-limit, limit); near 0 the map is close to the identity."""
    return limit * torch.tanh(raw / limit)


def unbounded_log_variance(log_variance: Tensor, limit: float = 8.0) -> Tensor:
    """Invert `bounded_log_variance`; values beyond 0.99 of the limit are clamped to it first."""
    return limit * torch.atanh((log_variance / limit).clamp(-0.99, 0.99))


def standard_normal_like(q: Gaussian) -> Gaussian:
    """Return the fixed prior N(0, I) in the shape of `q`."""
    return Gaussian(torch.zeros_like(q.mean), torch.zeros_like(q.log_variance))


def corrected(prior: Gaussian, reading: Gaussian) -> Gaussian:
    """Correct a prior by a reading: the normalised product of both Gaussians, each weighted by its precision.

    This is the posterior of a Ladder VAE (Soenderby et al. 2016). Where the prior is the last state carried forward,
    it is the update of a Kalman filter. The result never has a larger variance than the prior.
    """
    log_variance = -torch.logaddexp(-prior.log_variance, -reading.log_variance)
    from_prior = torch.exp(log_variance - prior.log_variance) * prior.mean
    from_reading = torch.exp(log_variance - reading.log_variance) * reading.mean
    return Gaussian(from_prior + from_reading, log_variance)


def kl_nats(q: Gaussian, p: Gaussian) -> Tensor:
    """Compute KL(q || p) of diagonal Gaussians in closed form.

    Kingma and Welling 2014, appendix B, with a general p.

    Returns:
        Float32 `[N]` in nats, summed over all axes but the first.
    """
    q_mean, q_log = q.mean.float(), q.log_variance.float()
    p_mean, p_log = p.mean.float(), p.log_variance.float()
    difference = torch.exp(q_log - p_log) + (q_mean - p_mean).square() * torch.exp(-p_log)
    return 0.5 * (p_log - q_log + difference - 1.0).flatten(1).sum(1)


def log_density(p: Gaussian, z: Tensor) -> Tensor:
    """Compute log p(z).

    Returns:
        Float32 `[N]` in nats, summed over all axes but the first.
    """
    log_variance = p.log_variance.float()
    squares = (z.float() - p.mean.float()).square() * torch.exp(-log_variance)
    return -0.5 * (squares + log_variance + math.log(2.0 * math.pi)).flatten(1).sum(1)


def distortion_nats(mse: Tensor, num_values: int, variance: Tensor | float) -> Tensor:
    """Compute -log N(x; prediction, variance I), including its normalising constant.

    The constant depends on the variance, so models with different variances can be compared only with it.

    Args:
        mse: Squared errors, each a mean over the values of a frame.
        num_values: Values of a frame, 3 H W.
        variance: Variance of the likelihood, positive; a tensor must broadcast with `mse`.

    Returns:
        Nats per frame, in the shape of `mse`.
    """
    variance = torch.as_tensor(variance, dtype=mse.dtype, device=mse.device)
    return 0.5 * num_values * (mse / variance + torch.log(2.0 * math.pi * variance))


@dataclass(frozen=True)
class BoundTerms:
    """Terms of the bound; scalars, means over predicted frames."""

    loss: Tensor
    """The objective: mse + kl_weight x (2 variance / num_values) x rate, means over all predicted frames."""
    mse: Tensor
    """Mean over all predicted frames."""
    rate_nats: Tensor
    """Mean over observed frames, like the distortion; their sum is the negative bound."""
    distortion_nats: Tensor


def bound_terms(
    mse: Tensor,
    rate_nats: Tensor,
    *,
    num_values: int,
    variance: float | None,
    kl_weight: float | Tensor,
    observed: Tensor | None = None,
) -> BoundTerms:
    """Assemble the loss and the terms of the bound from squared errors and rates.

    The negative bound per frame is num_values x mse / (2 variance) + kl_weight x rate + a constant. The loss is this
    divided by num_values / (2 variance), so that a learning rate has the same meaning under every variance.

    `variance=None` uses the optimal variance, the batch's own mean squared error (sigma-VAE, Rybkin et al. 2021), as a
    constant in the gradient. The gradient is then that of (num_values / 2) log mse + kl_weight x rate, up to the same
    factor.

    Args:
        mse: Squared errors, each a mean over the values of a frame; one entry per predicted frame.
        rate_nats: KL(posterior || prior) in the shape of `mse`; 0 where z is not from the posterior.
        num_values: Values of a frame, 3 H W.
        variance: Variance of the likelihood; None for the optimal one.
        kl_weight: Weight of the rate, at least 0.
        observed: True where z is from the posterior; None: everywhere. The optimal variance, the rate and the
            distortion are means over these entries, or over all entries where none is observed.
    """
    mse, rate_nats = mse.float(), rate_nats.float()
    mean_mse = mse.mean()
    weight = torch.ones_like(mse) if observed is None else observed.to(mse.dtype).expand_as(mse)
    weight = torch.where(weight.any(), weight, torch.ones_like(weight))
    observed_mse, observed_rate = ((values * weight).sum() / weight.sum() for values in (mse, rate_nats))
    s2 = observed_mse.detach().clamp_min(1e-8) if variance is None else torch.full_like(mean_mse, variance)
    loss = mean_mse + kl_weight * (2.0 * s2 / num_values) * rate_nats.mean()
    return BoundTerms(loss, mean_mse, observed_rate, distortion_nats(observed_mse, num_values, s2))
