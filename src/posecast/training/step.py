"""Update of a run: forward, backward, gradient clipping, optimiser step, weight average.

In: a batch from `batches.py` and a learning rate. Out: the named terms of the bound, or the fact that the update was
skipped. `shares.py` divides the clips among threads, `distributed.py` exchanges sums between processes, and
`model/cuda_graphs.py` captures kernels on a GPU. Next: `loop.py`, which repeats updates.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from posecast.config.schema import Config, parse_size
from posecast.data.clips import Clip
from posecast.model.cuda_graphs import GraphedFunction
from posecast.model.draws import Draws
from posecast.model.elbo import BoundTerms, bound_terms
from posecast.model.predictor import Observation, Predictor
from posecast.model.threads import Workers
from posecast.training.batches import Batch, Batches
from posecast.training.distributed import gather_rows, sum_over_processes_
from posecast.training.optimizers import build_optimizers
from posecast.training.schedules import average_decay, kl_weight
from posecast.training.shares import Share, SharedCondition, from_tensors, shared_conditions, to_tensors


@dataclass(frozen=True)
class StepMetrics:
    """Result of one update, as plain numbers; the terms are those of `BoundTerms`, over all processes."""

    loss: float
    mse: float
    rate_nats: float
    distortion_nats: float
    learning_rate: float
    num_predictions: int
    """Predicted frames of this process."""
    num_observed: int
    """Predicted frames of all processes whose z is from the posterior; rate and distortion are means over them."""
    skipped: bool
    """True if the weights did not change because the loss or its gradient was not finite."""


class TrainStep:
    """A predictor in training, its optimisers, and a running average of its weights."""

    def __init__(
        self, fabric: Fabric, config: Config, initial: dict[str, Tensor] | None = None, *, shares: int = 1
    ) -> None:
        """Build the networks and everything that trains them.

        Args:
            fabric: Device, precision and processes.
            config: Configuration of the run; its seed draws the weights.
            initial: Weights to start from instead.
            shares: Number of threads that an update's clips are divided among, each with one operator thread; 1 where
                operators use all threads. Sums are rounded differently for each number, so a run keeps its own.
        """
        torch.manual_seed(config.seed)
        self.fabric, self.config = fabric, config
        self.predictor = Predictor(config).to(fabric.device)
        self.predictor.in_bfloat16 = fabric._precision.precision == "bf16-mixed"
        if initial is not None:
            self.predictor.load_state_dict(initial)
        self.averaged = AveragedModel(self.predictor)
        self.averaged.eval()
        self.parameters = list(self.predictor.parameters())
        self.workers = Workers(shares)
        self.optimizers = build_optimizers(
            self.predictor, config.training, in_bfloat16=self.predictor.in_bfloat16, workers=self.workers
        )
        self.predictor.train()
        self.predictor.workers = self.smoothed.workers = self.workers
        # AveragedModel lists its tensors at every update, which takes milliseconds in which a GPU is idle.
        self._average_pairs: list[list[Any]] = [list(self.smoothed.parameters()), list(self.predictor.parameters())]
        self._buffer_pairs = list(zip(self.smoothed.buffers(), self.predictor.buffers(), strict=True))
        self._rate = torch.zeros((), device=fabric.device)
        self.on_gpu = fabric.device.type == "cuda"
        self.batches = Batches(
            config,
            self.predictor.latent_shape,
            fabric.global_rank,
            fabric.world_size,
            workers=self.workers,
            pinned=self.on_gpu,
        )
        self._wrap_in_graphs()

    @property
    def smoothed(self) -> Predictor:
        """Predictor with averaged weights, in evaluation mode; the one that is validated and kept."""
        module = self.averaged.module
        assert isinstance(module, Predictor)
        return module

    def update(self, batch: Batch, *, rate: float) -> StepMetrics:
        """Train on a batch at learning rate `rate`; skip the optimiser step if the gradient is not finite."""
        self.set_learning_rate(rate)
        (loss, mse, rate_nats, distortion_nats, norm), gradients = self.passes(batch)
        skipped = not math.isfinite(norm)
        if not skipped:
            self.apply_gradients(gradients)
        return StepMetrics(
            loss, mse, rate_nats, distortion_nats, rate, batch.num_predictions, batch.num_observed, skipped
        )

    def passes(self, batch: Batch) -> tuple[list[float], list[Tensor]]:
        """Call `forward_backward` on a batch, or replay its CUDA graph.

        Returns:
            Loss, mse, rate, distortion and the norm of the gradients before clipping, over all processes; and the
            clipped gradients, which the next call overwrites.
        """
        all_forced = all(bool(draws.teacher_forced.all()) for _, draws in batch.shares)
        weight = torch.tensor(kl_weight(batch.epoch, self.config.bound))
        values, gradients = self._graphed_passes[all_forced](weight, *to_tensors(batch.shares))
        return values.tolist(), gradients

    def apply_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Step the optimisers and average the weights."""
        self._graphed_step(*gradients)
        self._average_weights()

    def forward_backward(self, all_forced: bool, weight: Tensor, *tensors: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Compute the terms of the bound and the clipped gradients from the shares' tensors."""

        def forward(share: Share, condition: SharedCondition | None) -> Observation:
            with self._autocast():
                return self.predictor(
                    *share.clip, share.draws, together=all_forced, condition=condition and condition.leaves
                )

        shares = from_tensors(tensors)
        with self._autocast():
            conditions = shared_conditions(self.predictor, shares)
        observations = self._map_shares(forward, shares, conditions)
        terms, output_gradients = self._loss(shares, observations, weight)
        partial_gradients = self._map_shares(self._backward, observations, output_gradients, conditions)
        gradients = partial_gradients[0]
        for addend in partial_gradients[1:]:  # in their order, on which the rounding of the sum depends
            torch._foreach_add_(gradients, addend)  # pyright: ignore[reportPrivateImportUsage]
        sum_over_processes_(self.fabric, gradients)
        norm = clip_gradients_(gradients, self.config.training.max_grad_norm)
        return torch.stack((terms.loss, terms.mse, terms.rate_nats, terms.distortion_nats, norm)).detach(), gradients

    def _autocast(self) -> AbstractContextManager[Any]:
        """Return the arithmetic of a forward pass; threads do not share autocast's cache, whose order is by chance."""
        if self.predictor.in_bfloat16 and self.workers.count > 1:
            return torch.autocast(self.fabric.device.type, torch.bfloat16, cache_enabled=False)
        return self.fabric.autocast()

    def _loss(
        self, shares: Sequence[Share], observations: Sequence[Observation], weight: Tensor
    ) -> tuple[BoundTerms, list[tuple[Tensor, Tensor]]]:
        """Compute the bound over the clips of all processes, and its gradients by each own share's mse and rate."""
        columns = (
            [observation.mse for observation in observations],
            [observation.rate_nats for observation in observations],
            [share.draws.observed() for share in shares],
        )
        mse, rate_nats, observed = (gather_rows(self.fabric, torch.cat(rows).detach().float()) for rows in columns)
        outputs = (mse.requires_grad_(), rate_nats.requires_grad_())
        terms = self.bound(*outputs, observed > 0, weight)
        sizes = [len(observation.mse) for observation in observations]
        own = slice(self.fabric.global_rank * sum(sizes), (self.fabric.global_rank + 1) * sum(sizes))
        gradients = (gradient[own].split(sizes) for gradient in torch.autograd.grad(terms.loss, outputs))
        return terms, list(zip(*gradients, strict=True))

    def _backward(
        self, observation: Observation, output_gradients: tuple[Tensor, Tensor], condition: SharedCondition | None
    ) -> list[Tensor]:
        """Return a share's gradients of all parameters, zeros for those that it did not use."""
        num_outputs = 2 if observation.rate_nats.requires_grad else 1  # the rate has none where z is the prior's mean
        leaves = condition.leaves if condition else ()
        gradients = torch.autograd.grad(
            (observation.mse, observation.rate_nats)[:num_outputs],
            [*self.parameters, *leaves],
            output_gradients[:num_outputs],
            allow_unused=True,
            materialize_grads=True,
        )
        own, leaf_gradients = gradients[: len(self.parameters)], gradients[len(self.parameters) :]
        total = [in_memory_order_of(*pair) for pair in zip(self.parameters, own, strict=True)]
        if condition:
            common = list(condition.backward(leaf_gradients, self.parameters))
            torch._foreach_add_(total, common)  # pyright: ignore[reportPrivateImportUsage]
        return total

    def _optimizer_step(self, *gradients: Tensor) -> None:
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        for optimizer in self.optimizers:
            optimizer.step()

    @torch.no_grad()
    def _average_weights(self) -> None:
        kept = average_decay(self.config.training.ema_decay, int(self.averaged.n_averaged))
        averages, weights = self._average_pairs
        torch._foreach_lerp_(averages, weights, 1.0 - kept)  # pyright: ignore[reportPrivateImportUsage]
        for average, buffer in self._buffer_pairs:
            average.copy_(buffer)
        self.averaged.n_averaged += 1

    def _map_shares(self, function: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
        """Call `function` with each share's entries of the columns, in the worker threads."""
        return self.workers.map(lambda row: function(*row), list(zip(*columns, strict=True)))

    def _wrap_in_graphs(self) -> None:
        """Wrap the passes and the optimiser step in CUDA graphs, which hold the addresses of weights and states."""
        # Processes exchange gradients within an update, which cannot be captured.
        graphed = functools.partial(GraphedFunction, device=self.fabric.device, enabled=self.fabric.world_size == 1)
        self._graphed_passes = {
            all_forced: graphed(functools.partial(self.forward_backward, all_forced)) for all_forced in (False, True)
        }
        self._graphed_step = graphed(self._optimizer_step)

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of the next step; on a GPU in the tensor that a captured step reads."""
        self._rate.fill_(rate)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._rate if self.on_gpu else rate

    def reset(self) -> None:
        """Clear gradients, the states of the optimisers and the count of the average; weights stay."""
        for parameter in self.parameters:
            parameter.grad = None
        for optimizer in self.optimizers:
            optimizer.state.clear()
        self.averaged.n_averaged.zero_()
        self._wrap_in_graphs()

    @torch.inference_mode()
    def observe(
        self, clip: Clip, draws: Draws, *, kl_weight: float, predictor: Predictor
    ) -> tuple[Observation, BoundTerms]:
        """Predict clips with a given predictor, without gradients, and compute the bound."""
        device = self.fabric.device
        clip = Clip(*(tensor.to(device) for tensor in clip))
        draws = Draws(*(tensor.to(device) for tensor in draws))
        with self.fabric.autocast():
            observation = predictor(*clip, draws)
        return observation, self.bound(observation.mse, observation.rate_nats, draws.observed(), kl_weight)

    def bound(self, mse: Tensor, rate_nats: Tensor, observed: Tensor, kl_weight: float | Tensor) -> BoundTerms:
        """Compute the terms of the bound; the first three arguments have one entry per predicted frame."""
        num_values = 3 * math.prod(parse_size(self.config.size))
        return bound_terms(
            mse,
            rate_nats,
            num_values=num_values,
            variance=self.config.bound.variance(num_values),
            kl_weight=kl_weight,
            observed=observed,
        )

    def state(self) -> dict[str, Any]:
        """Return everything that an update changes."""
        return {
            "weights": self.predictor.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned, on this or on another device."""
        self.predictor.load_state_dict(state["weights"])
        self.averaged.load_state_dict(state["averaged"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
            for group in optimizer.param_groups:
                if "capturable" in group:  # whether a step can be captured, by the device that saved it
                    group["capturable"] = self.on_gpu
        self._wrap_in_graphs()


def clip_gradients_(gradients: list[Tensor], max_norm: float) -> Tensor:
    """Scale gradients in place to a total norm of at most `max_norm`, or leave them if it is 0; return their norm."""
    norm = torch.nn.utils.get_total_norm(gradients)
    if max_norm:
        scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        if scale.is_cuda or scale < 1.0:  # the comparison would wait for a GPU
            torch._foreach_mul_(gradients, scale)  # pyright: ignore[reportPrivateImportUsage]
    return norm


def in_memory_order_of(parameter: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient with its parameter's strides, since fused optimisers traverse both in memory order."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
