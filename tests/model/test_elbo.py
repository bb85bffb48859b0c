"""Terms of the bound against torch.distributions, algebra and one-dimensional models.

Their sum on models with known evidence is tested in tests/test_theory.py.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from posecast.config.schema import Bound
from posecast.model.elbo import (
    Gaussian,
    bound_terms,
    bounded_log_variance,
    corrected,
    distortion_nats,
    kl_nats,
    log_density,
    standard_normal_like,
)


def random_gaussian(generator: torch.Generator, shape: tuple[int, ...]) -> Gaussian:
    return Gaussian(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator))


def as_normal(gaussian: Gaussian) -> Normal:
    return Normal(gaussian.mean, torch.exp(0.5 * gaussian.log_variance))


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_kl_agrees_with_torch_distributions(generator: torch.Generator) -> None:
    q, p = random_gaussian(generator, (5, 3, 4, 2)), random_gaussian(generator, (5, 3, 4, 2))
    expected = kl_divergence(as_normal(q), as_normal(p)).sum((1, 2, 3))
    assert kl_nats(q, p).shape == (5,)
    torch.testing.assert_close(kl_nats(q, p), expected)


def test_kl_is_zero_only_for_equal_gaussians(generator: torch.Generator) -> None:
    q = random_gaussian(generator, (4, 6))
    torch.testing.assert_close(kl_nats(q, q), torch.zeros(4), atol=1e-6, rtol=0)
    shifted = Gaussian(q.mean + 0.1, q.log_variance)
    widened = Gaussian(q.mean, q.log_variance + 0.1)
    assert (kl_nats(shifted, q) > 1e-3).all()
    assert (kl_nats(widened, q) > 1e-3).all()


def test_kl_against_the_fixed_prior_is_the_textbook_formula(generator: torch.Generator) -> None:
    q = random_gaussian(generator, (3, 7))
    textbook = -0.5 * (1 + q.log_variance - q.mean.square() - q.log_variance.exp()).sum(1)
    torch.testing.assert_close(kl_nats(q, standard_normal_like(q)), textbook)


def test_kl_of_half_precision_is_summed_in_float32() -> None:
    # 24,576 terms of 1/8: bfloat16 would stop counting long before 3,072
    q = Gaussian(torch.full((1, 24_576), 0.5, dtype=torch.bfloat16), torch.zeros(1, 24_576, dtype=torch.bfloat16))
    nats = kl_nats(q, standard_normal_like(q))
    assert nats.dtype == torch.float32
    assert nats.item() == pytest.approx(3072.0)


def test_sample_has_the_stated_mean_and_variance_and_passes_gradients(generator: torch.Generator) -> None:
    mean, log_variance = (
        torch.tensor([2.0], requires_grad=True),
        torch.tensor([math.log(9.0)], requires_grad=True),
    )
    noise = torch.randn(100_000, generator=generator)
    samples = Gaussian(mean, log_variance).sample(noise)
    assert samples.mean().item() == pytest.approx(2.0, abs=5 * 3 / math.sqrt(100_000))
    assert samples.var().item() == pytest.approx(9.0, rel=5 * math.sqrt(2 / 100_000))
    samples[0].backward()
    assert mean.grad is not None
    assert log_variance.grad is not None
    assert mean.grad.item() == 1.0
    assert log_variance.grad.item() == pytest.approx(0.5 * 3.0 * noise[0].item(), rel=1e-5)


def test_bounded_log_variance_is_near_the_identity_at_zero_and_stays_in_its_range() -> None:
    small = torch.linspace(-0.1, 0.1, 21, dtype=torch.float64)
    torch.testing.assert_close(bounded_log_variance(small), small, atol=1e-5, rtol=0)
    raw = torch.linspace(-40, 40, 401, dtype=torch.float64)
    bounded = bounded_log_variance(raw)
    assert (bounded.abs() < 8.0).all()
    assert (bounded.diff() > 0).all()
    assert bounded[-1].item() == pytest.approx(8.0, abs=1e-2)
    extreme = bounded_log_variance(torch.tensor([-1e30, 1e30, float("inf")]), limit=3.0)
    assert extreme.tolist() == [-3.0, 3.0, 3.0]


def test_distortion_agrees_with_torch_distributions(generator: torch.Generator) -> None:
    frames, predictions = torch.rand(2, 4, 3 * 8 * 8, generator=generator, dtype=torch.float64)
    mse = (frames - predictions).square().mean(1)
    expected = -Normal(predictions, math.sqrt(0.03)).log_prob(frames).sum(1)
    torch.testing.assert_close(distortion_nats(mse, 192, 0.03), expected)
    torch.testing.assert_close(distortion_nats(mse, 192, torch.tensor(0.03, dtype=torch.float64)), expected)


@pytest.mark.parametrize("variance", [0.002, 1.0, 3072.0])
def test_loss_is_the_weighted_negative_bound_rescaled(generator: torch.Generator, variance: float) -> None:
    mse, rate = torch.rand(2, 8, 15, generator=generator)
    mse, rate = mse / 100, rate * 5000  # sizes at which both terms count under every variance
    terms = bound_terms(mse, rate, num_values=6144, variance=variance, kl_weight=0.3)
    log_term = 0.5 * 6144 * math.log(2 * math.pi * variance)
    weighted = terms.distortion_nats - log_term + 0.3 * terms.rate_nats
    torch.testing.assert_close(terms.loss, weighted * 2 * variance / 6144, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(terms.mse, mse.mean())
    torch.testing.assert_close(terms.rate_nats, rate.mean())


@pytest.mark.parametrize("beta", [0.0, 1e-4, 1.0])
def test_the_course_loss_is_a_variance_of_3072(generator: torch.Generator, beta: float) -> None:
    mse, rate = torch.rand(2, 2, 15, generator=generator)
    for num_values in (6144, 24576):  # at 32x64 and at 64x128
        variance = Bound(likelihood_variance="course").variance(num_values)
        terms = bound_terms(mse, rate, num_values=num_values, variance=variance, kl_weight=beta)
        torch.testing.assert_close(terms.loss, mse.mean() + beta * rate.mean())


def test_optimal_variance_is_the_mean_squared_error_and_minimises_the_distortion(
    generator: torch.Generator,
) -> None:
    mse, rate = torch.rand(2, 2, 15, generator=generator)
    terms = bound_terms(mse, rate, num_values=6144, variance=None, kl_weight=1.0)
    torch.testing.assert_close(terms.distortion_nats, distortion_nats(mse.mean(), 6144, mse.mean()))
    torch.testing.assert_close(terms.loss, mse.mean() * (1 + 2 / 6144 * rate.mean()))
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert distortion_nats(mse.mean(), 6144, factor * mse.mean()) > terms.distortion_nats


def test_optimal_variance_is_a_constant_in_the_gradient() -> None:
    mse, rate = torch.tensor([0.02, 0.04], requires_grad=True), torch.tensor([5.0, 7.0], requires_grad=True)
    bound_terms(mse, rate, num_values=100, variance=None, kl_weight=0.5).loss.backward()
    assert mse.grad is not None
    assert rate.grad is not None
    torch.testing.assert_close(mse.grad, torch.full((2,), 1 / 2))
    torch.testing.assert_close(rate.grad, torch.full((2,), 0.5 * (2 * 0.03 / 100) / 2))


def test_a_perfect_prediction_stays_finite() -> None:
    terms = bound_terms(torch.zeros(3), torch.ones(3), num_values=6144, variance=None, kl_weight=1.0)
    assert math.isfinite(terms.loss.item())
    assert math.isfinite(terms.distortion_nats.item())


def test_optimal_variance_has_the_gradient_of_log_mse_plus_rate() -> None:
    mse, rate = torch.tensor([0.02, 0.04], requires_grad=True), torch.tensor([5.0, 7.0], requires_grad=True)
    ours = torch.autograd.grad(bound_terms(mse, rate, num_values=100, variance=None, kl_weight=0.5).loss, [mse, rate])
    logarithm = torch.autograd.grad(50 * mse.mean().log() + 0.5 * rate.mean(), [mse, rate])
    for gradient, expected in zip(ours, logarithm, strict=True):
        torch.testing.assert_close(gradient, (2 * 0.03 / 100) * expected)


def test_a_variance_per_batch_looks_better_than_any_one_variance() -> None:
    mse = torch.tensor([0.01, 0.09])
    per_batch, grid = distortion_nats(mse, 6144, mse).mean(), torch.logspace(-3, 0, 301)
    assert (distortion_nats(mse.mean(), 6144, grid) > per_batch + 1000).all()


@pytest.mark.parametrize("variance", [0.05, 0.5, 0.99, 1.01, 3072.0])
@pytest.mark.parametrize("kl_weight", [0.1, 1.0])
def test_latent_collapses_when_weight_times_variance_exceeds_what_it_explains(
    variance: float, kl_weight: float
) -> None:
    # x = w z + noise, E x^2 = 1: at the best q the weighted loss is -kl_weight log N(x; 0, w^2 + effective)
    effective, mse = kl_weight * variance, torch.ones((), dtype=torch.float64)
    squared = torch.linspace(0, 1.5, 1501, dtype=torch.float64)
    best = squared[distortion_nats(mse, 1, squared + effective).argmin()].item()
    assert best == pytest.approx(max(0.0, 1 - effective), abs=2e-3)
    x, total = torch.tensor([[-1.0], [1.0]]), best + effective
    q = Gaussian(math.sqrt(best) * x / total, torch.full_like(x, math.log(effective / total)))
    rate = kl_nats(q, standard_normal_like(q)).mean().item()
    assert (rate > 1e-3) == (effective < 1)
    assert rate <= 1 / (2 * effective) + 1e-6  # never more than MSE_0 / beta


def test_score_function_gradient_agrees_but_grows_noisy_with_the_latents(generator: torch.Generator) -> None:
    variances = {}
    for dims in (1, 64):
        noise = torch.randn(20_000, dims, generator=generator)
        z = Gaussian(torch.full((dims,), 0.5), torch.zeros(dims)).sample(noise)
        # the gradient in the first mean of E[-sum z^2 / 2] is minus that mean
        pathwise, score = -z[:, 0], -0.5 * z.square().sum(1) * noise[:, 0]
        for estimate in (pathwise, score):
            assert abs(estimate.mean() + 0.5) < 5 * estimate.std() / math.sqrt(len(z))
        variances[dims] = pathwise.var().item(), score.var().item()
    assert variances[64][0] == pytest.approx(variances[1][0], rel=0.1)
    assert variances[64][1] > 100 * variances[1][1]


def test_average_rate_is_information_plus_mismatch_of_the_aggregate(generator: torch.Generator) -> None:
    gain, variance, x_mean, x_std = 0.7, 0.3, 1.2, 1.4  # q(z|x) = N(gain x, variance), x ~ N(x_mean, x_std^2)
    means = gain * (x_mean + x_std * torch.randn(100_000, 1, generator=generator))
    spread = (gain * x_std) ** 2 + variance
    information = 0.5 * math.log(spread / variance)
    aggregate = Gaussian(torch.tensor([[gain * x_mean]]), torch.tensor([[math.log(spread)]]))
    for p in (standard_normal_like(aggregate), aggregate):
        rates = kl_nats(Gaussian(means, torch.full_like(means, math.log(variance))), p)
        expected = information + kl_nats(aggregate, p).item()
        assert abs(rates.mean().item() - expected) < 5 * rates.std().item() / math.sqrt(len(rates))
    assert kl_nats(aggregate, standard_normal_like(aggregate)).item() > 0.1


def test_best_of_n_less_log_n_is_a_bound_and_best_of_n_is_not(generator: torch.Generator) -> None:
    means, evidence = [], -distortion_nats(torch.ones(()), 1, 1.05).item()  # x = 1, prediction z ~ N(0, 1)
    for futures in (1, 8, 64):
        log_p = -distortion_nats((1 - torch.randn(4000, futures, generator=generator)).square(), 1, 0.05)
        weighted, best = log_p.logsumexp(1) - math.log(futures), log_p.amax(1)
        assert (best - math.log(futures) <= weighted + 1e-5).all()
        assert (weighted <= best + 1e-5).all()
        assert weighted.mean() < evidence + 4 * weighted.std() / math.sqrt(4000)
        means.append((weighted.mean().item(), best.mean().item()))
    assert means == sorted(means)
    assert means[-1][0] == pytest.approx(evidence, abs=0.2)
    assert means[-1][1] > evidence + 1


def test_one_future_errs_more_than_their_mean_by_their_variance(generator: torch.Generator) -> None:
    truth, other = 0.8 * torch.randn(2, 200_000, generator=generator)
    truth = truth + math.sqrt(0.1) * torch.randn(200_000, generator=generator)
    assert truth.square().mean().item() == pytest.approx(0.64 + 0.1, rel=0.02)
    assert (truth - other).square().mean().item() == pytest.approx(2 * 0.64 + 0.1, rel=0.02)


def test_psnr_ceiling_geometric_mean_and_a_decibel_in_nats() -> None:
    rounding = torch.linspace(-0.5, 0.5, 100_001, dtype=torch.float64) / 255
    floor = 1 / (12 * 255**2)
    assert rounding.square().mean().item() == pytest.approx(floor, rel=1e-4)
    assert 10 * math.log10(1 / floor) == pytest.approx(58.92, abs=0.005)
    mse = torch.tensor([1e-2, 1e-4], dtype=torch.float64)
    psnr_db = -10 * mse.log10()
    assert psnr_db.mean().item() == pytest.approx(-10 * math.log10(1e-3))
    assert psnr_db.mean() > -10 * mse.mean().log10() + 1
    nats = distortion_nats(mse, 6144, mse)
    assert ((nats[0] - nats[1]) / 20).item() == pytest.approx(707.4, abs=0.05)


def test_log_density_agrees_with_torch_distributions(generator: torch.Generator) -> None:
    p, z = random_gaussian(generator, (5, 3, 2)), torch.randn(5, 3, 2, generator=generator)
    torch.testing.assert_close(log_density(p, z), as_normal(p).log_prob(z).sum((1, 2)))


def test_a_corrected_prior_is_bayes_rule_for_a_noisy_reading(generator: torch.Generator) -> None:
    """For z ~ p and a reading N(z, v) with value `reading.mean`, compare density ratios at many points."""
    p, reading = random_gaussian(generator, (4, 3)), random_gaussian(generator, (4, 3))
    q = corrected(p, reading)
    z = torch.linspace(-2, 2, 9)[:, None, None]

    def log(gaussian: Gaussian) -> torch.Tensor:
        return as_normal(gaussian).log_prob(z)

    ratio = log(p) + log(reading) - log(q)  # the same for every z
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), atol=1e-4, rtol=1e-4)
    assert (q.log_variance < torch.minimum(p.log_variance, reading.log_variance)).all()
    vague = Gaussian(reading.mean, torch.full_like(reading.mean, 40.0))
    torch.testing.assert_close(corrected(p, vague).mean, p.mean)
