"""Optimisers: Adam and AdamW from torch, and Muon for the matrices that convolutions are.

In: a predictor and the settings of training. Out: optimisers that share one learning rate.
Knows no loss and no step. Next: `step.py`, which uses them.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from posecast.config.schema import Training
from posecast.model.threads import Workers

SMALLEST_SIDE = 16
"""A matrix with a shorter side has too few directions to be worth balancing; Adam takes it."""
EPSILON = 1e-12
"""Added to what AdamW and Muon divide gradients by. The loss is in units of squared error, where a prior, which only
the KL teaches, has gradients of 1e-8 and less: torch's 1e-8 would hold it still. Adam, the course's, keeps torch's."""
COEFFICIENTS = (
    (8.383674, -24.765906, 18.357082),
    (4.043420, -3.011405, 0.569512),
    (3.505571, -2.626654, 0.525719),
    (2.490116, -1.834275, 0.436835),
)
"""Of the odd quintic a x + b x^3 + c x^5 of each iteration: each is nearest to 1, at its worst, on the interval that
the one before leaves of [0.003, 1] (minimax, by Remez's exchange: Amsel et al. 2025, "The Polar Express"). Singular
values from 0.003 on end in [0.80, 1.20]."""
HEADROOM = 1.02
"""Matrices are scaled to a norm of at most 1 / HEADROOM: beyond 1 the first polynomial rises steeply."""
AT_ONCE = 8
"""Kernels of one shape that are stepped in one batch."""


def build_optimizers(
    module: nn.Module, training: Training, *, in_bfloat16: bool = False, workers: Workers | None = None
) -> list[torch.optim.Optimizer]:
    """What trains all parameters: Adam or AdamW alone, or Muon for large kernels and AdamW for the rest.

    Muon multiplies in bfloat16 where the run does; its kernels are shared out among `workers`.
    """
    parameters = list(module.parameters())
    adam: dict[str, Any] = {"lr": training.learning_rate, "betas": (training.beta1, training.beta2), "fused": True}
    adam["capturable"] = parameters[0].is_cuda  # so that a step can be recorded
    if training.optimizer == "adam":
        return [torch.optim.Adam(parameters, **adam)]
    if training.optimizer == "adamw":
        return [torch.optim.AdamW(parameters, **adam, eps=EPSILON, weight_decay=training.weight_decay)]
    kernels = [one for one in parameters if is_large_kernel(one)]
    chosen = {id(one) for one in kernels}
    rest = [one for one in parameters if id(one) not in chosen]
    adamw = torch.optim.AdamW(rest, **adam, eps=EPSILON, weight_decay=training.weight_decay)
    if not kernels:  # networks of toy width
        return [adamw]
    muon = Muon(
        kernels,
        lr=training.learning_rate,
        weight_decay=training.weight_decay,
        product_dtype=torch.bfloat16 if in_bfloat16 else torch.float32,
        workers=workers,
    )
    return [muon, adamw]


def is_large_kernel(parameter: Tensor) -> bool:
    """Whether a parameter is a convolution's kernel with many inputs and outputs over 3x3 cells or more.

    Smaller ones took a third of the optimiser's time and gained nothing (docs/quality.md).
    """
    wide = parameter.ndim == 4 and min(parameter.shape[0], parameter[0].numel()) >= SMALLEST_SIDE
    return wide and parameter.shape[2] >= 3


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is made orthogonal: all directions of a kernel, seen as a matrix, move alike.

    (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".) A kernel `[O, I, h, w]` is a
    matrix of O rows. Steps are scaled to the size of Adam's (Liu et al. 2025, eq. 4), so one learning rate fits
    both. torch's own Muon takes matrices only; here kernels of one shape are also made orthogonal in one batch.
    """

    def __init__(
        self,
        kernels: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        *,
        product_dtype: torch.dtype = torch.float32,
        workers: Workers | None = None,
    ) -> None:
        super().__init__(kernels, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.product_dtype, self.workers = product_dtype, workers or Workers(1)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[torch.Size, list[Any]] = defaultdict(list)
            for kernel in group["params"]:
                if kernel.grad is not None:
                    alike[kernel.shape].append(kernel)
            self.workers.map(functools.partial(self._step_alike, group), by_work(alike.values()))
        return loss

    @torch.no_grad()
    def _step_alike(self, group: dict[str, Any], kernels: list[Any]) -> None:
        """Step kernels of one shape. The learning rate may be a tensor, which a recorded step reads anew."""
        for kernel in kernels:
            if not self.state[kernel]:
                self.state[kernel]["momentum"] = torch.zeros_like(kernel)
        gradients = [kernel.grad for kernel in kernels]
        momenta = [self.state[kernel]["momentum"] for kernel in kernels]
        torch._foreach_lerp_(momenta, gradients, 1.0 - group["momentum"])  # pyright: ignore[reportPrivateImportUsage]
        # Nesterov's
        looking_ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])  # pyright: ignore[reportPrivateImportUsage]
        matrices = torch.stack([as_matrix(one) for one in looking_ahead])
        size = group["lr"] * (0.2 * max(matrices.shape[1:]) ** 0.5)
        directions = orthogonalised(matrices, self.product_dtype, size)
        torch._foreach_mul_(kernels, 1.0 - group["lr"] * group["weight_decay"])  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_sub_(kernels, [as_kernel(one, kernels[0].shape) for one in directions])  # pyright: ignore[reportPrivateImportUsage]


def as_matrix(kernel: Tensor) -> Tensor:
    """A kernel `[O, I, h, w]` as the matrix `[O, h w I]`: which column is which is all one to Muon, and in
    `channels_last` memory order nothing is moved."""
    return kernel.permute(0, 2, 3, 1).flatten(1)


def as_kernel(matrix: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `as_matrix`."""
    rows, columns, height, width = shape
    return matrix.view(rows, height, width, columns).permute(0, 3, 1, 2)


def by_work(groups: Iterable[list[Any]]) -> list[list[Any]]:
    """Kernels of one shape, the groups with most to multiply first, cut up so that threads end at the same time."""
    pieces = [group[start : start + AT_ONCE] for group in groups for start in range(0, len(group), AT_ONCE)]
    return sorted(
        pieces, key=lambda piece: -len(piece) * piece[0].numel() * min(piece[0].shape[0], piece[0][0].numel())
    )


def orthogonalised(matrices: Tensor, product_dtype: torch.dtype = torch.float32, size: float | Tensor = 1.0) -> Tensor:
    """The nearest matrices `[N, O, I]` with singular values near `size`, mostly 0.8 to 1.2 times it, float32.

    A quintic Newton-Schulz iteration: products of matrices only, no decomposition. In float32 it runs on the Gram
    matrix X X', whose side is the shorter one: X_k is Q_k X with Q_k a polynomial of X X', so that only the first and
    the last product touch X. In bfloat16, which has too few digits for the squares of small singular values, it runs on
    X itself.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.to(product_dtype)
    x = x.mT if tall else x
    if product_dtype == torch.float32:
        gram = x @ x.mT
        # Norms and sizes go into the small matrices: passes over the large ones cost as much as the products.
        norm = (HEADROOM * gram.diagonal(dim1=1, dim2=2).sum(1).sqrt()).clamp_min(EPSILON)[:, None, None]
        x = (gram_factor(gram / norm.square()) * (size / norm)) @ x
    else:
        x = x / (HEADROOM * x.norm(dim=(1, 2), keepdim=True)).clamp_min(EPSILON)
        for a, b, c in COEFFICIENTS:
            gram = x @ x.mT
            # Sums are taken within the products.
            polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            x = torch.baddbmm(x, polynomial, x, beta=a)
        x = size * x.float()
    return x.mT if tall else x


def gram_factor(gram: Tensor) -> Tensor:
    """Q `[N, O, O]` such that Q X is the iteration's last X, from X X' of the first.

    With P_k = a_k I + b_k G_k + c_k G_k^2 a step is X_(k+1) = P_k X_k, so G_(k+1) = P_k G_k P_k and Q_(k+1) = P_k Q_k:
    all are polynomials of one symmetric matrix, and commute.
    """
    factor = None
    for iteration, (a, b, c) in enumerate(COEFFICIENTS, start=1):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)
        factor = polynomial if factor is None else polynomial @ factor
        if iteration < len(COEFFICIENTS):
            gram = (polynomial @ gram) @ polynomial
    assert factor is not None
    return factor
