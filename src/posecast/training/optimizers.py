"""Optimisers: Adam and AdamW from torch, and Muon, which treats a convolution's kernel as a matrix.

In: a module and the settings of training. Out: optimisers that share one learning rate.
Next: `step.py`, which uses them.
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

MIN_SIDE = 16
"""Shortest side of a matrix that Muon trains; with fewer singular values there is little to equalise."""
EPSILON = 1e-12
"""Added to the denominators of AdamW and Muon. The loss is in units of squared error, where the gradients of a prior,
which come from the KL term alone, are 1e-8 and less; torch's default of 1e-8 would stop its training. Adam keeps the
default, as in the course."""
COEFFICIENTS = (
    (8.383674, -24.765906, 18.357082),
    (4.043420, -3.011405, 0.569512),
    (3.505571, -2.626654, 0.525719),
    (2.490116, -1.834275, 0.436835),
)
"""Coefficients (a, b, c) of each iteration's polynomial a x + b x^3 + c x^5.

Each is the minimax approximation of 1 on the image of [0.003, 1] under the ones before, by Remez's exchange (Amsel et
al. 2025, "The Polar Express"). Together they map singular values in [0.003, 1] to [0.80, 1.20]."""
HEADROOM = 1.02
"""Matrices are scaled to a norm of at most 1 / HEADROOM, because the first polynomial rises steeply beyond 1."""
MAX_BATCH = 8
"""Most kernels of one shape that are stepped in one batch."""


def build_optimizers(
    module: nn.Module, training: Training, *, in_bfloat16: bool = False, workers: Workers | None = None
) -> list[torch.optim.Optimizer]:
    """Build the optimisers of all parameters: Adam or AdamW alone, or Muon for large kernels and AdamW for the rest.

    Args:
        module: Module to train.
        training: Optimiser, learning rate, Adam's betas and weight decay.
        in_bfloat16: Whether Muon multiplies matrices in bfloat16 instead of float32.
        workers: Threads that Muon's kernels are divided among; None for the calling thread.
    """
    parameters = list(module.parameters())
    adam: dict[str, Any] = {"lr": training.learning_rate, "betas": (training.beta1, training.beta2), "fused": True}
    adam["capturable"] = parameters[0].is_cuda  # so that a CUDA graph can capture the step
    if training.optimizer == "adam":
        return [torch.optim.Adam(parameters, **adam)]
    if training.optimizer == "adamw":
        return [torch.optim.AdamW(parameters, **adam, eps=EPSILON, weight_decay=training.weight_decay)]
    kernels = [parameter for parameter in parameters if is_large_kernel(parameter)]
    rest = [parameter for parameter in parameters if not is_large_kernel(parameter)]
    adamw = torch.optim.AdamW(rest, **adam, eps=EPSILON, weight_decay=training.weight_decay)
    if not kernels:
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
    """Return whether a parameter is a convolution's kernel of at least 3x3 with many inputs and outputs.

    Muon is slower on smaller kernels and does not improve their training (docs/lab-notes/quality.md).
    """
    wide = parameter.ndim == 4 and min(parameter.shape[0], parameter[0].numel()) >= MIN_SIDE
    return wide and parameter.shape[2] >= 3


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are orthogonalised, so that they have equal size in all directions of a kernel.

    A kernel `[O, I, h, w]` is a matrix of O rows (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural
    networks"). Steps have the size of Adam's (Liu et al. 2025, eq. 4), so one learning rate suits both. In contrast to
    torch's Muon, which takes matrices only, kernels of one shape are orthogonalised in one batch.
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
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Change the kernels by their gradients.

        Args:
            closure: Function that computes the gradients and returns the loss; None if the gradients are there.

        Returns:
            The loss that the closure returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Any]] = defaultdict(list)
            for kernel in group["params"]:
                if kernel.grad is not None:
                    by_shape[kernel.shape].append(kernel)
            self.workers.map(functools.partial(self._step_batch, group), _by_work(by_shape.values()))
        return loss

    @torch.no_grad()
    def _step_batch(self, group: dict[str, Any], kernels: list[Any]) -> None:
        """Step kernels of one shape; the learning rate may be a tensor, which a captured step reads at each replay."""
        for kernel in kernels:
            if not self.state[kernel]:
                self.state[kernel]["momentum"] = torch.zeros_like(kernel)
        gradients = [kernel.grad for kernel in kernels]
        momenta = [self.state[kernel]["momentum"] for kernel in kernels]
        torch._foreach_lerp_(momenta, gradients, 1.0 - group["momentum"])  # pyright: ignore[reportPrivateImportUsage]
        nesterov = torch._foreach_lerp(gradients, momenta, group["momentum"])  # pyright: ignore[reportPrivateImportUsage]
        matrices = torch.stack([as_matrix(kernel) for kernel in nesterov])
        size = group["lr"] * (0.2 * max(matrices.shape[1:]) ** 0.5)
        steps = orthogonalised(matrices, self.product_dtype, size)
        torch._foreach_mul_(kernels, 1.0 - group["lr"] * group["weight_decay"])  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_sub_(kernels, [as_kernel(matrix, kernels[0].shape) for matrix in steps])  # pyright: ignore[reportPrivateImportUsage]


def as_matrix(kernel: Tensor) -> Tensor:
    """Return a kernel `[O, I, h, w]` as a matrix `[O, h w I]`, without copying where it is `channels_last`.

    Muon does not depend on the order of the columns.
    """
    return kernel.permute(0, 2, 3, 1).flatten(1)


def as_kernel(matrix: Tensor, shape: torch.Size) -> Tensor:
    """Return the kernel of a given shape that `as_matrix` made a matrix of."""
    rows, columns, height, width = shape
    return matrix.view(rows, height, width, columns).permute(0, 3, 1, 2)


def _by_work(groups: Iterable[list[Any]]) -> list[list[Any]]:
    """Split groups of kernels into batches, largest product first, so that threads end at about the same time."""
    batches = [group[start : start + MAX_BATCH] for group in groups for start in range(0, len(group), MAX_BATCH)]
    return sorted(
        batches, key=lambda batch: -len(batch) * batch[0].numel() * min(batch[0].shape[0], batch[0][0].numel())
    )


def orthogonalised(matrices: Tensor, product_dtype: torch.dtype = torch.float32, size: float | Tensor = 1.0) -> Tensor:
    """Return matrices with the same singular vectors whose singular values are about equal.

    This is a quintic Newton-Schulz iteration: products of matrices only, no decomposition. In float32 it runs on the
    Gram matrix X X', whose side is the shorter one: X_k is Q_k X with Q_k a polynomial of X X', so that only the first
    and the last product involve X. In bfloat16, which has too few digits for the squares of small singular values, it
    runs on X itself.

    Args:
        matrices: Matrices `[N, O, I]`.
        product_dtype: float32 or bfloat16, for the products.
        size: The singular values aimed at; most are 0.8 to 1.2 times it.

    Returns:
        Matrices `[N, O, I]` in float32.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.to(product_dtype)
    x = x.mT if tall else x
    if product_dtype == torch.float32:
        gram = x @ x.mT
        # Scaling the small matrices is cheaper: a pass over the large ones takes as long as a product.
        norm = (HEADROOM * gram.diagonal(dim1=1, dim2=2).sum(1).sqrt()).clamp_min(EPSILON)[:, None, None]
        x = (gram_factor(gram / norm.square()) * (size / norm)) @ x
    else:
        x = x / (HEADROOM * x.norm(dim=(1, 2), keepdim=True)).clamp_min(EPSILON)
        for a, b, c in COEFFICIENTS:
            gram = x @ x.mT
            polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            x = torch.baddbmm(x, polynomial, x, beta=a)
        x = size * x.float()
    return x.mT if tall else x


def gram_factor(gram: Tensor) -> Tensor:
    """Return Q `[N, O, O]` such that Q X is the iteration's last X, from the Gram matrix X X' of the first.

    With P_k = a_k I + b_k G_k + c_k G_k^2 a step is X_(k+1) = P_k X_k, so G_(k+1) = P_k G_k P_k and Q_(k+1) = P_k Q_k.
    All are polynomials of one symmetric matrix and therefore commute.
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
