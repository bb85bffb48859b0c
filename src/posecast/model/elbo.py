"""The bound: Gaussians, KL, likelihood, and the named terms of a conditional ELBO.

In: means, log variances, squared errors. Out: rate and distortion in nats per frame, and the loss.
Knows no network and no time. The derivation, with these names, is docs/theory.md; next: `predictor.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian: `mean` and `log_variance` of one shape, `[N, ...]`."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """mean + standard deviation x noise: the reparameterisation (Kingma and Welling 2014, section 2.4)."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise


def bounded_log_variance(raw: Tensor, limit: float = 8.0) -> Tensor:
    """A smooth squashing of any real into (-limit, limit): near the identity at 0, never infinite."""
    return limit * torch.tanh(raw / limit)


def unbounded_log_variance(log_variance: Tensor, limit: float = 8.0) -> Tensor:
    """The inverse of `bounded_log_variance`; what lies beyond its limits is taken for what lies just within."""
    return limit * torch.atanh((log_variance / limit).clamp(-0.99, 0.99))


def standard_normal_like(q: Gaussian) -> Gaussian:
    """The fixed prior N(0, I) in the shape of `q`."""
    return Gaussian(torch.zeros_like(q.mean), torch.zeros_like(q.log_variance))


def corrected(p: Gaussian, seen: Gaussian) -> Gaussian:
    """A prior corrected by what was seen: the product of two Gaussians, each weighed by its precision.

    The posterior of a Ladder VAE (Soenderby et al. 2016); where the prior is the last state carried
    forward, a Kalman filter's update. It is never less certain than the prior.
    """
    p_log, seen_log = p.log_variance, seen.log_variance
    log_variance = -torch.logaddexp(-p_log, -seen_log)
    mean = torch.exp(log_variance - p_log) * p.mean + torch.exp(log_variance - seen_log) * seen.mean
    return Gaussian(mean, log_variance)


def kl_nats(q: Gaussian, p: Gaussian) -> Tensor:
    """KL(q || p) in nats, summed over all but the first axis: `[N]`, float32.

    Closed form for diagonal Gaussians (Kingma and Welling 2014, appendix B, with a general p).
    """
    q_mean, q_log = q.mean.float(), q.log_variance.float()
    p_mean, p_log = p.mean.float(), p.log_variance.float()
    difference = torch.exp(q_log - p_log) + (q_mean - p_mean).square() * torch.exp(-p_log)
    return 0.5 * (p_log - q_log + difference - 1.0).flatten(1).sum(1)


def log_density(p: Gaussian, z: Tensor) -> Tensor:
    """log p(z) in nats, summed over all but the first axis: `[N]`, float32."""
    log_variance = p.log_variance.float()
    squares = (z.float() - p.mean.float()).square() * torch.exp(-log_variance)
    return -0.5 * (squares + log_variance + math.log(2.0 * math.pi)).flatten(1).sum(1)


def distortion_nats(mse: Tensor, num_values: int, variance: Tensor | float) -> Tensor:
    """-log N(x; prediction, variance I) in nats for mean squared error `mse` over `num_values` pixels' colours.

    The log term counts: two models with different variances are comparable only with it.
    """
    variance = torch.as_tensor(variance, dtype=mse.dtype, device=mse.device)
    return 0.5 * num_values * (mse / variance + torch.log(2.0 * math.pi * variance))


@dataclass(frozen=True)
class BoundTerms:
    """The bound's terms, means over predicted frames; all scalars."""

    loss: Tensor
    """What is minimised: mse + kl_weight x (2 variance / num_values) x rate, means over all predicted frames."""
    mse: Tensor
    """Over all predicted frames."""
    rate_nats: Tensor
    """Over the observed ones, as the distortion: their sum is the negative bound."""
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
    """Assemble the loss from squared errors and rates of one shape, one entry per predicted frame.

    The negative bound per frame is num_values x mse / (2 variance) + kl_weight x rate + a constant. Divided by
    num_values / (2 variance) it reads mse + kl_weight x (2 variance / num_values) x rate: that is the loss,
    so the learning rate means the same under every variance. `variance=None` takes the optimal variance, the
    batch's own mean squared error (sigma-VAE, Rybkin et al. 2021), as a constant in the gradient, which
    gives the gradient of (num_values / 2) log mse + kl_weight x rate up to the same factor.

    Args:
        mse: Squared errors, each a mean over the `num_values` values of a frame.
        rate_nats: KL(posterior || prior) in nats; 0 where z is not from the posterior.
        num_values: Values of a frame, 3 H W.
        variance: The likelihood's, or None for the optimal one.
        kl_weight: At least 0.
        observed: True where z is from the posterior, None if everywhere. The optimal variance, the rate and the
            distortion are of these entries; where there are none, of all.
    """
    mse, rate_nats = mse.float(), rate_nats.float()
    mean_mse = mse.mean()
    weight = torch.ones_like(mse) if observed is None else observed.to(mse.dtype).expand_as(mse)
    weight = torch.where(weight.any(), weight, torch.ones_like(weight))
    observed_mse, observed_rate = ((part * weight).sum() / weight.sum() for part in (mse, rate_nats))
    s2 = observed_mse.detach().clamp_min(1e-8) if variance is None else torch.full_like(mean_mse, variance)
    loss = mean_mse + kl_weight * (2.0 * s2 / num_values) * rate_nats.mean()
    return BoundTerms(loss, mean_mse, observed_rate, distortion_nats(observed_mse, num_values, s2))
