"""Optimisers: Adam and AdamW from torch, and Muon for the matrices that convolutions are.

In: a predictor and the knobs of training. Out: optimisers that share one learning rate.
Knows no loss and no step. Next: `learning.py`, which uses them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from posecast.config import Training

SMALLEST_SIDE = 16
"""A matrix with a shorter side has too few directions to be worth balancing; Adam takes it."""
EPSILON = 1e-12
"""Added to what AdamW and Muon divide gradients by. The loss is in units of squared error, where a prior, which only
the KL teaches, has gradients of 1e-8 and less: torch's 1e-8 would hold it still. Adam, the course's, keeps torch's."""
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration; steepest at 0, so that five rounds suffice (Jordan et al. 2024)."""


def build_optimizers(module: nn.Module, training: Training) -> list[torch.optim.Optimizer]:
    """What trains all parameters: Adam or AdamW alone, or Muon for large kernels and AdamW for the rest."""
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
    return [Muon(kernels, lr=training.learning_rate, weight_decay=training.weight_decay), adamw]


def is_large_kernel(parameter: Tensor) -> bool:
    """Whether a parameter is a convolution's kernel with many inputs and outputs."""
    return parameter.ndim == 4 and min(parameter.shape[0], parameter[0].numel()) >= SMALLEST_SIDE


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is made orthogonal: all directions of a kernel, seen as a matrix, move alike.

    (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".) A kernel `[O, I, h, w]` is a
    matrix of O rows. Steps are scaled to the size of Adam's (Liu et al. 2025, eq. 4), so one learning rate fits
    both. torch's own Muon takes matrices only; here kernels of one shape are also made orthogonal in one batch.
    """

    def __init__(
        self, kernels: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        super().__init__(kernels, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

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
            for kernels in alike.values():
                self._step_alike(kernels, group)
        return loss

    def _step_alike(self, kernels: list[Any], group: dict[str, Any]) -> None:
        """Step kernels of one shape. The learning rate may be a tensor, which a recorded step reads anew."""
        for kernel in kernels:
            if not self.state[kernel]:
                self.state[kernel]["momentum"] = torch.zeros_like(kernel)
        gradients = [kernel.grad for kernel in kernels]
        momenta = [self.state[kernel]["momentum"] for kernel in kernels]
        torch._foreach_lerp_(momenta, gradients, 1.0 - group["momentum"])  # pyright: ignore[reportPrivateImportUsage]
        # Nesterov's
        looking_ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])  # pyright: ignore[reportPrivateImportUsage]
        directions = orthogonalised(torch.stack([as_matrix(one) for one in looking_ahead]))
        directions *= group["lr"] * (0.2 * max(directions.shape[1:]) ** 0.5)
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


def orthogonalised(matrices: Tensor) -> Tensor:
    """The nearest matrices `[N, O, I]` with singular values near 1, mostly 0.7 to 1.2, float32.

    The quintic Newton-Schulz iteration, in bfloat16: products of matrices only, no decomposition.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.to(torch.bfloat16)
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(EPSILON)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        # Sums are taken within the products: passes over memory cost as much as the products themselves.
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.mT if tall else x).float()
