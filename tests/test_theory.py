"""Numerical checks of the claims in docs/explanation/theory.md, on models with a closed-form solution.

The model is linear and Gaussian: x = W z + offset + noise, with offset U c + b. Expectations over z are sums over
Gauss-Hermite nodes, exact for these polynomials, so that a tolerance of 1e-4 nats covers float32 rounding.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from posecast.model.elbo import Gaussian, bound_terms, distortion_nats, kl_nats, standard_normal_like

DOUBLE = torch.float64
Feed = Literal["prediction", "stopped", "truth"]


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=DOUBLE)


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    """Assert equality up to float32, the type that `kl_nats` returns."""
    torch.testing.assert_close(actual.double(), expected.double(), atol=1e-4, rtol=1e-5)


def gauss_hermite(dims: int) -> tuple[Tensor, Tensor]:
    """Return nodes `[K, dims]` and weights `[K]` of E over N(0, I), exact up to degree 15 in each dimension."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    grid = torch.tensor(list(itertools.product(nodes, repeat=dims)), dtype=DOUBLE)
    products = torch.tensor(list(itertools.product(weights / weights.sum(), repeat=dims)), dtype=DOUBLE)
    return grid, products.prod(1)


@dataclass(frozen=True)
class LinearModel:
    """Model x = z W' + offset + N(0, variance I), z ~ prior; vectors are rows `[1, ...]`, W is `[D, Z]`."""

    weight: Tensor
    offset: Tensor
    prior: Gaussian
    variance: float

    @property
    def num_values(self) -> int:
        return len(self.weight)

    def log_evidence(self, x: Tensor) -> Tensor:
        mean = self.offset + self.prior.mean @ self.weight.T
        covariance = (self.weight * self.prior.log_variance.exp()) @ self.weight.T
        noise = self.variance * torch.eye(self.num_values, dtype=DOUBLE)
        return MultivariateNormal(mean, covariance + noise).log_prob(x).sum()

    def posterior_precision(self) -> Tensor:
        prior_precision = torch.diag(torch.exp(-self.prior.log_variance[0]))
        return prior_precision + self.weight.T @ self.weight / self.variance

    def posterior(self, x: Tensor) -> Gaussian:
        """Return the exact posterior if W's columns are orthogonal, else the best diagonal one (mean field)."""
        precision = self.posterior_precision()
        pull = (x - self.offset) @ self.weight / self.variance
        pull = pull + self.prior.mean / self.prior.log_variance.exp()
        return Gaussian(torch.linalg.solve(precision, pull.T).T, -precision.diagonal().log()[None])

    def mse_and_rate(self, x: Tensor, q: Gaussian) -> tuple[Tensor, Tensor]:
        noise, weights = gauss_hermite(q.mean.shape[1])
        squares = (x - self.offset - q.sample(noise) @ self.weight.T).square().mean(1)
        return (weights * squares).sum(), kl_nats(q, self.prior).sum()

    def bound(self, x: Tensor, q: Gaussian) -> Tensor:
        mse, rate = self.mse_and_rate(x, q)
        return -distortion_nats(mse, self.num_values, self.variance) - rate


X = row(0.3, -1.2, 0.8)
STANDARD = Gaussian(row(0, 0), row(0, 0))
CONDITIONAL = Gaussian(row(0.4, -1.1), row(-0.5, 0.3))  # a learned prior N(A c, .) at one c
ORTHOGONAL = torch.tensor([[1.0, 0.5], [2.0, 0.0], [-0.5, 1.0]], dtype=DOUBLE)  # so the posterior is diagonal
SKEW = torch.tensor([[1.0, 0.5], [2.0, 1.0], [-0.5, 1.0]], dtype=DOUBLE)


def model_with(prior: Gaussian, weight: Tensor = ORTHOGONAL, variance: float = 0.2) -> LinearModel:
    return LinearModel(weight, row(0.1, 0.2, -0.3), prior, variance)


def random_posteriors(count: int, dims: int = 2) -> list[Gaussian]:
    generator = torch.Generator().manual_seed(1)
    draws = torch.randn(count, 2, 1, dims, generator=generator, dtype=DOUBLE)
    return [Gaussian(mean, log_variance) for mean, log_variance in draws]


@pytest.mark.parametrize("prior", [STANDARD, CONDITIONAL], ids=["standard", "conditional"])
def test_bound_holds_and_its_gap_is_the_kl_to_the_true_posterior(prior: Gaussian) -> None:
    model = model_with(prior)
    for q in random_posteriors(30):
        gap = model.log_evidence(X) - model.bound(X, q)
        assert gap > 0.01
        assert_equal(gap, kl_nats(q, model.posterior(X)).sum())
    assert_equal(model.bound(X, model.posterior(X)), model.log_evidence(X))


def test_diagonal_posterior_leaves_a_gap_where_latents_explain_each_other_away() -> None:
    model = model_with(STANDARD, SKEW)
    precision = model.posterior_precision()
    gap = 0.5 * (precision.diagonal().log().sum() - precision.logdet())
    assert gap > 0.02
    assert_equal(model.log_evidence(X) - model.bound(X, model.posterior(X)), gap)


def test_evidence_gradient_is_the_gradient_of_the_tight_bound() -> None:
    weight = ORTHOGONAL.clone().requires_grad_()
    model = model_with(CONDITIONAL, weight)
    frozen = model.posterior(X)
    tight = Gaussian(frozen.mean.detach(), frozen.log_variance.detach())
    (through_bound,) = torch.autograd.grad(model.bound(X, tight), weight)
    (exact,) = torch.autograd.grad(model.log_evidence(X), weight)
    assert_equal(through_bound, exact)


def test_reparameterised_gradient_is_the_gradient_of_the_analytic_bound() -> None:
    for start in random_posteriors(5):
        mean, log_variance = (t.clone().requires_grad_() for t in (start.mean, start.log_variance))
        weight = ORTHOGONAL.clone().requires_grad_()
        q, model = Gaussian(mean, log_variance), model_with(CONDITIONAL, weight)
        residual = (X - model.offset - mean @ weight.T).square().sum()
        spread = (weight.square().sum(0) * log_variance.exp()).sum()
        distortion = distortion_nats((residual + spread) / 3, 3, model.variance)
        analytic = -distortion - kl_nats(q, model.prior).sum()
        sampled = torch.autograd.grad(model.bound(X, q), [mean, log_variance, weight])
        exact = torch.autograd.grad(analytic, [mean, log_variance, weight])
        for sampled_gradient, exact_gradient in zip(sampled, exact, strict=True):
            assert_equal(sampled_gradient, exact_gradient)


@pytest.mark.parametrize("beta", [1e-3, 0.1, 1.0])
def test_mse_plus_beta_kl_is_the_bound_at_half_d_beta(beta: float) -> None:
    weight = SKEW.clone().requires_grad_()
    model = model_with(STANDARD, weight, variance=3 * beta / 2)
    for start in random_posteriors(5):
        inputs = [start.mean.clone().requires_grad_(), start.log_variance.clone().requires_grad_(), weight]
        mse, rate = model.mse_and_rate(X, Gaussian(inputs[0], inputs[1]))
        course = torch.autograd.grad(mse + beta * rate, inputs, retain_graph=True)
        bound = torch.autograd.grad(-model.bound(X, Gaussian(inputs[0], inputs[1])), inputs)
        # The loss depends only on weight x variance: a tenth of the weight equals a tenth of the variance.
        terms = bound_terms(mse, rate, num_values=3, variance=10 * model.variance, kl_weight=0.1)
        ours = torch.autograd.grad(terms.loss, inputs)
        for a, b, c in zip(course, bound, ours, strict=True):
            assert_equal(a, beta * b)
            assert_equal(a, c)


def test_posterior_blind_to_the_condition_pays_the_stated_gap() -> None:
    w, u, s2 = 0.8, 1.5, 0.1  # x = w z + u c + noise, and q depends only on x
    prior, posterior_variance, total = Gaussian(row(0), row(0)), s2 / (w * w + s2), w * w + u * u + s2
    nodes, weights = gauss_hermite(2)
    gap = 0.0
    for (c, e), weight in zip(nodes.tolist(), weights.tolist(), strict=True):
        x = row(u * c + math.sqrt(w * w + s2) * e)
        model = LinearModel(row(w), row(u * c), prior, s2)
        blind = Gaussian(w * (x - u * (u / total) * x) / (w * w + s2), row(math.log(posterior_variance)))
        gap += weight * (model.log_evidence(x) - model.bound(x, blind)).item()
    assert gap == pytest.approx(w * w * u * u / (2 * s2 * total), rel=1e-4)
    assert gap > 1


def test_conditional_prior_is_a_standard_prior_with_a_decoder_that_knows_it() -> None:
    scale = torch.exp(0.5 * CONDITIONAL.log_variance)
    learned = model_with(CONDITIONAL)
    standardised = LinearModel(ORTHOGONAL * scale, learned.offset + CONDITIONAL.mean @ ORTHOGONAL.T, STANDARD, 0.2)
    assert_equal(standardised.log_evidence(X), learned.log_evidence(X))
    for q in random_posteriors(5):
        white = Gaussian((q.mean - CONDITIONAL.mean) / scale, q.log_variance - CONDITIONAL.log_variance)
        assert_equal(standardised.bound(X, white), learned.bound(X, q))


@dataclass(frozen=True)
class TwoSteps:
    """Model x̂_t = gain x̂_(t-1) + z_t from a given x_1, x_t = x̂_t + noise; `truth` uses x_(t-1) for x̂_(t-1)."""

    gain: Tensor
    x: tuple[float, float, float]
    variance: float = 0.5

    def log_evidence(self, feed: Feed) -> Tensor:
        (x1, x2, _), a, total, zero = self.x, self.gain, self.gain * 0 + 1 + self.variance, self.gain * 0
        mean = torch.stack([a * x1, a * x2 if feed == "truth" else a * a * x1])
        shared = zero if feed == "truth" else a
        covariance = torch.stack([total, shared, shared, total + shared * shared]).view(2, 2)
        return MultivariateNormal(mean, covariance).log_prob(row(*self.x[1:])[0])

    def filtered(self, residual: Tensor) -> Gaussian:
        """Return the posterior of z_t given its own frame and the input of its step."""
        variance = torch.full_like(residual, self.variance / (1 + self.variance))
        return Gaussian(residual / (1 + self.variance), variance.log())

    def smoothed(self) -> Gaussian:
        """Return the posterior of z_2 when predictions are fed back, which depends on x_3 too."""
        (x1, x2, x3), a, total = self.x, self.gain.detach(), 1 + self.variance
        precision = 1 + 1 / self.variance + a * a / total
        mean = ((x2 - a * x1) / self.variance + a * (x3 - a * a * x1) / total) / precision
        return Gaussian(mean.view(1, 1), -precision.log().view(1, 1))

    def bound(self, q2: Gaussian, feed: Feed) -> Tensor:
        """Return the bound summed over t = 2, 3, with z_3 from `filtered`, by quadrature over both z."""
        noise, weights = gauss_hermite(2)
        prediction = self.gain * self.x[0] + q2.sample(noise[:, :1])
        previous = {"prediction": prediction, "stopped": prediction.detach(), "truth": row(self.x[1])}[feed]
        q3 = self.filtered((self.x[2] - self.gain * previous).expand(len(noise), 1))
        last = self.gain * previous + q3.sample(noise[:, 1:])
        squares = torch.stack([(self.x[1] - prediction).square(), (self.x[2] - last).square()])[..., 0]
        rate = kl_nats(q2, standard_normal_like(q2)) + kl_nats(q3, standard_normal_like(q3))
        return -(weights * (distortion_nats(squares, 1, self.variance).sum(0) + rate)).sum()


def two_steps(x1: float, x2: float, x3: float) -> TwoSteps:
    return TwoSteps(torch.tensor(0.9, dtype=DOUBLE, requires_grad=True), (x1, x2, x3))


def filtered_first(model: TwoSteps) -> Gaussian:
    return model.filtered(row(model.x[1]) - model.gain * model.x[0])


def test_feedback_sum_bounds_the_sequence_and_is_tight_if_the_posterior_sees_the_future() -> None:
    model = two_steps(0.5, 1.5, -0.7)
    evidence, smoothed = model.log_evidence("prediction"), model.smoothed()
    for q in [filtered_first(model), *random_posteriors(9, dims=1)]:
        gap = evidence - model.bound(q, "prediction")
        assert gap > 0.01
        assert_equal(gap, kl_nats(q, smoothed).sum())
    assert_equal(model.bound(smoothed, "prediction"), evidence)


def test_stopping_the_gradient_keeps_the_value_and_loses_the_bound_s_gradient() -> None:
    model = two_steps(0.5, 1.5, -0.7)
    bounds = [model.bound(model.smoothed(), feed) for feed in ("prediction", "stopped")]
    values = [model.log_evidence("prediction"), *bounds]
    exact, flowing, stopped = (torch.autograd.grad(value, model.gain)[0] for value in values)
    assert_equal(bounds[0], bounds[1])
    assert_equal(flowing, exact)
    assert abs(stopped - exact) > 0.1


RISING, FALLING = two_steps(0.0, 3.0, 2.7), two_steps(0.0, 3.0, 0.0)  # x_3 agrees with x_2, or contradicts it


def test_teacher_forced_sum_bounds_another_model_and_can_exceed_this_one() -> None:
    for model, forced_is_higher in ((RISING, True), (FALLING, False)):
        forced, fed_back = model.log_evidence("truth"), model.log_evidence("prediction")
        assert all(model.bound(q, "truth") < forced for q in random_posteriors(9, dims=1))
        bound = model.bound(filtered_first(model), "truth")
        assert_equal(bound, forced)
        assert (bound > fed_back + 0.3) == forced_is_higher
        assert (bound < fed_back - 0.3) != forced_is_higher


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_coin_bounds_the_mixture_and_neither_end(rate: float) -> None:
    exceeded = set()
    for model in (RISING, FALLING):
        ends = {feed: model.log_evidence(feed) for feed in ("truth", "prediction")}
        mixture = torch.logaddexp(math.log(rate) + ends["truth"], math.log(1 - rate) + ends["prediction"])
        tight = model.bound(filtered_first(model), "truth"), model.bound(model.smoothed(), "prediction")
        objective = rate * tight[0] + (1 - rate) * tight[1]  # the maximum of the objective
        assert objective < mixture - 1e-3
        exceeded |= {feed for feed, evidence in ends.items() if objective > evidence + 0.03}
    assert exceeded == {"truth", "prediction"}


def test_teacher_forcing_cannot_see_how_errors_grow() -> None:
    # The truth is constant 0; a step maps x to gain x + 0.01, and teacher forcing only evaluates the step at 0.
    for value in (0.5, 0.99, 1.1):
        gain = torch.tensor(value, dtype=DOUBLE, requires_grad=True)
        errors = [torch.zeros((), dtype=DOUBLE)]
        for _ in range(50):
            errors.append(gain * errors[-1] + 0.01)
        assert torch.autograd.grad(errors[1], gain, retain_graph=True)[0] == 0
        assert torch.autograd.grad(errors[50], gain)[0] > 0.01
        assert errors[50].item() == pytest.approx(0.01 * (value**50 - 1) / (value - 1))


def test_theory_md_names_all_of_these_tests_and_no_missing_one() -> None:
    here = Path(__file__).parent
    theory = (here.parent / "docs" / "explanation" / "theory.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", theory))
    ours, elbo = (
        set(re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE))
        for file in (here / "test_theory.py", here / "model" / "test_elbo.py")
    )
    assert named - ours - elbo == set()
    assert ours - named == {"test_theory_md_names_all_of_these_tests_and_no_missing_one"}


def test_the_bound_leaves_the_mean_prediction_undetermined_and_prior_mean_clips_determine_it() -> None:
    """Fit x = z'^2, z' standard normal, from a posterior that has z' nearly exactly: f(0) is 0, although E x is 1.

    With half of the rows decoded at z = 0 the same least squares give f(0) = E x and leave f unchanged elsewhere.
    """
    rng = np.random.default_rng(0)
    true = rng.standard_normal(40_000)
    sampled = true + 0.01 * rng.standard_normal(true.shape)

    def features(z: np.ndarray) -> np.ndarray:
        return np.stack([np.ones_like(z), z, z**2, np.exp(-((z / 0.02) ** 2))], 1)  # the last lets f be sharp at 0

    def fitted(z: np.ndarray) -> np.ndarray:
        return np.linalg.lstsq(features(z), true**2, rcond=None)[0]

    bound_alone = fitted(sampled)
    half_prior_mean = fitted(np.where(rng.random(true.shape) < 0.5, 0.0, sampled))
    at = features(np.array([0.0, 1.0, -2.0]))
    assert (at @ bound_alone)[0] == pytest.approx(0.0, abs=0.05)
    assert (at @ half_prior_mean)[0] == pytest.approx(1.0, abs=0.05)
    assert (at @ half_prior_mean)[1:] == pytest.approx([1.0, 4.0], abs=0.05)
