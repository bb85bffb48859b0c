"""One update: observe, backward, step, average; and everything that an update changes.

In: batches from `batches.py`. Out: the named terms of the bound, or that the update was skipped.
Knows no run folder. Next: `loop.py`, which repeats this.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from posecast.config.schema import Config, parse_size
from posecast.data.clips import Clip
from posecast.model.cuda_graphs import GraphedFunction
from posecast.model.elbo import BoundTerms, bound_terms
from posecast.model.predictor import Draws, Observation, Predictor, rows_of_clips, time_major
from posecast.model.priors import Features
from posecast.model.threads import Workers
from posecast.training.batches import Batch, Batches
from posecast.training.optimizers import build_optimizers
from posecast.training.schedules import kl_weight


@dataclass(frozen=True)
class StepMetrics:
    """What one update did, as plain numbers; `skipped` if the loss or the gradient was not finite."""

    loss: float
    mse: float
    rate_nats: float
    distortion_nats: float
    learning_rate: float
    num_predictions: int
    num_observed: int
    """Of them those whose z is from the posterior: rate and distortion are theirs."""
    skipped: bool


class Condition(NamedTuple):
    """Features of a share's poses that were encoded with those of all clips, and the same as leaves of a graph."""

    features: Features
    leaves: Features


_SHARED_GRAPH = threading.Lock()
"""Held by the one thread that goes back through a graph that all shares hang on."""


class TrainStep:
    """A predictor, its optimiser and the running average of its weights, under one Fabric.

    `shares` is how many threads work on an update, each on a share of its clips and inside operators alone; with 1,
    operators share their work out. It rounds otherwise, so a run keeps the number that it began with.
    """

    def __init__(
        self, fabric: Fabric, config: Config, initial: dict[str, Tensor] | None = None, *, shares: int = 1
    ) -> None:
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
        self._averages: list[list[Any]] = [list(module.parameters()) for module in (self.smoothed, self.predictor)]
        self._buffers = list(zip(self.smoothed.buffers(), self.predictor.buffers(), strict=True))
        self._rate = torch.zeros((), device=fabric.device)
        rank, processes = fabric.global_rank, fabric.world_size
        on_gpu = fabric.device.type == "cuda"
        self.batches = Batches(
            config, self.predictor.latent_shape, rank, processes, workers=self.workers, pinned=on_gpu
        )
        self._build_replays()

    def _build_replays(self) -> None:
        """What an update computes, with weights and optimisers' state where they lie now."""
        self._passes = {
            together: self._replayed(functools.partial(self._both_passes, together)) for together in (False, True)
        }
        self._steps = self._replayed(self._step)

    def _replayed(self, function: Callable[..., Any]) -> GraphedFunction:
        # Processes exchange gradients within an update, which is not recorded.
        return GraphedFunction(function, self.fabric.device, records=self.fabric.world_size == 1)

    @property
    def smoothed(self) -> Predictor:
        """The predictor with averaged weights, in evaluation mode: what is validated and kept."""
        module = self.averaged.module
        assert isinstance(module, Predictor)
        return module

    def update(self, batch: Batch, *, rate: float) -> StepMetrics:
        """One update at a learning rate."""
        self.set_learning_rate(rate)
        (loss, mse, nats, distortion, norm), gradients = self.passes(batch)
        skipped = not math.isfinite(norm)
        if not skipped:
            self.apply_gradients(gradients)
        return StepMetrics(loss, mse, nats, distortion, rate, batch.num_predictions, batch.num_observed, skipped)

    def passes(self, batch: Batch) -> tuple[list[float], list[Tensor]]:
        """Forward and backward: loss, mse, rate, distortion and the gradients' norm, over all processes; gradients.

        Gradients come clipped, and last until the next passes.
        """
        together = all(bool(draws.forced.all()) for _, draws in batch.shares)
        weight = torch.tensor(self.kl_weight(batch.epoch))
        given = [part for clip, draws in batch.shares for part in (*clip, *draws)]
        values, gradients = self._passes[together](weight, *given)
        return values.tolist(), gradients

    def apply_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Step and average."""
        self._steps(*gradients)
        self._average()

    @torch.no_grad()
    def _average(self) -> None:
        # AveragedModel looks all tensors up anew each time: milliseconds, in which a GPU is idle.
        kept = kept_of_average(self.config.training.ema_decay, int(self.averaged.n_averaged))
        averages, weights = self._averages
        torch._foreach_lerp_(averages, weights, 1.0 - kept)  # pyright: ignore[reportPrivateImportUsage]
        for average, buffer in self._buffers:
            average.copy_(buffer)
        self.averaged.n_averaged += 1

    def _both_passes(self, together: bool, weight: Tensor, *given: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Observe every share of the clips, assemble the bound of all of them, and send its slopes back."""
        shares = shares_of(given)
        conditions = self._encode_together([clip for clip, _ in shares])
        observe = functools.partial(self._observe_share, together)
        observations = self.workers.map(observe, list(zip(shares, conditions, strict=True)))
        terms, slopes = self._bound_of_all(observations, [draws.observed() for _, draws in shares], weight)
        parts = self.workers.map(self._backward_share, list(zip(observations, slopes, conditions, strict=True)))
        gradients = parts[0]
        for part in parts[1:]:  # in their order, whichever was ready first: sums of floats depend on it
            torch._foreach_add_(gradients, part)  # pyright: ignore[reportPrivateImportUsage]
        gradients = self._summed_over_processes(gradients)
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.config.training.max_grad_norm:
            scale = (self.config.training.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
            if scale.is_cuda or scale < 1.0:  # a GPU is not waited for
                torch._foreach_mul_(gradients, scale)  # pyright: ignore[reportPrivateImportUsage]
        return torch.stack((terms.loss, terms.mse, terms.rate_nats, terms.distortion_nats, norm)).detach(), gradients

    def _encode_together(self, clips: Sequence[Clip]) -> list[Condition | None]:
        """The poses of all shares in one batch where networks normalise over it; None for each share elsewhere."""
        if len(clips) == 1 or not self.predictor.normalises_over_clips:
            return [None] * len(clips)
        with self.fabric.autocast():
            whole = self.predictor.networks.encode_condition(time_major(torch.cat([c.poses[:, 1:] for c in clips])), ())
        sizes = [len(clip.poses) for clip in clips]
        rows = zip(*(rows_of_clips(scale, sizes) for scale in whole), strict=True)
        return [Condition(share, tuple(scale.detach().requires_grad_() for scale in share)) for share in rows]

    def _observe_share(self, together: bool, work: tuple[tuple[Clip, Draws], Condition | None]) -> Observation:
        (clip, draws), condition = work
        with self.fabric.autocast():
            return self.predictor(*clip, draws, together=together, condition=condition and condition.leaves)

    def _bound_of_all(
        self, observations: Sequence[Observation], observed: Sequence[Tensor], weight: Tensor
    ) -> tuple[BoundTerms, list[tuple[Tensor, Tensor]]]:
        """The bound of the clips of all shares and processes; its slopes by each share's squared errors and rates."""
        parts = [
            torch.cat(part).detach().float()
            for part in (
                [one.mse for one in observations],
                [one.rate_nats for one in observations],
                list(observed),
            )
        ]
        # One process's rows after the other's, so that each can take its own slopes out again.
        parts = [self._of_all_processes(part) for part in parts]
        mse, rate = (part.requires_grad_() for part in parts[:2])
        terms = self.bound(mse, rate, parts[2] > 0, weight)
        sizes = [len(one.mse) for one in observations]
        own = slice(self.fabric.global_rank * sum(sizes), (self.fabric.global_rank + 1) * sum(sizes))
        slopes = [slope[own].split(sizes) for slope in torch.autograd.grad(terms.loss, (mse, rate))]
        return terms, list(zip(*slopes, strict=True))

    def _of_all_processes(self, part: Tensor) -> Tensor:
        """The rows of every process, in the order of their ranks."""
        if self.fabric.world_size == 1:
            return part
        whole = part.new_zeros(self.fabric.world_size, *part.shape)
        whole[self.fabric.global_rank] = part
        gathered = self.fabric.all_reduce(whole, reduce_op="sum")
        assert isinstance(gathered, Tensor)
        return gathered.flatten(0, 1)

    def _backward_share(self, work: tuple[Observation, tuple[Tensor, Tensor], Condition | None]) -> list[Tensor]:
        """A share's part of the gradients; zeros where it did not use a parameter."""
        observation, (mse_slope, rate_slope), condition = work
        outputs, slopes = [observation.mse], [mse_slope]
        if observation.rate_nats.requires_grad:  # not where z is always the prior's mean
            outputs, slopes = [*outputs, observation.rate_nats], [mse_slope, rate_slope]
        leaves = condition.leaves if condition else ()
        gradients = torch.autograd.grad(
            outputs, [*self.parameters, *leaves], slopes, allow_unused=True, materialize_grads=True
        )
        own, sent_back = gradients[: len(self.parameters)], gradients[len(self.parameters) :]
        found = [in_order_of(*pair) for pair in zip(self.parameters, own, strict=True)]
        if condition:  # what was encoded together is kept for the other shares
            with _SHARED_GRAPH:
                more = torch.autograd.grad(
                    condition.features, self.parameters, sent_back, True, allow_unused=True, materialize_grads=True
                )
            torch._foreach_add_(found, list(more))  # pyright: ignore[reportPrivateImportUsage]
        return found

    def _summed_over_processes(self, gradients: list[Tensor]) -> list[Tensor]:
        if self.fabric.world_size == 1:
            return gradients
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        summed = self.fabric.all_reduce(flat, reduce_op="sum")
        assert isinstance(summed, Tensor)
        pieces = summed.split([gradient.numel() for gradient in gradients])
        return [
            in_order_of(parameter, piece.view(parameter.shape))
            for parameter, piece in zip(self.parameters, pieces, strict=True)
        ]

    def _step(self, *gradients: Tensor) -> None:
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        for optimizer in self.optimizers:
            optimizer.step()

    def set_learning_rate(self, rate: float) -> None:
        """For the next step. On a GPU the optimisers read it where a recorded step finds it too."""
        on_gpu = self.fabric.device.type == "cuda"
        self._rate.fill_(rate)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._rate if on_gpu else rate

    def forget_gradients(self) -> None:
        """Drop gradients, and all that the optimiser and the average remember of them."""
        for parameter in self.parameters:
            parameter.grad = None
        for optimizer in self.optimizers:
            optimizer.state.clear()
        self.averaged.n_averaged.zero_()
        self._build_replays()

    @torch.inference_mode()
    def observe(
        self, clip: Clip, draws: Draws, *, kl_weight: float, predictor: Predictor
    ) -> tuple[Observation, BoundTerms]:
        """Observe a clip with a predictor, without gradients, and assemble the bound."""
        device = self.fabric.device
        clip = Clip(*(part.to(device) for part in clip))
        draws = Draws(*(part.to(device) for part in draws))
        with self.fabric.autocast():
            observation = predictor(*clip, draws)
        return observation, self.bound(observation.mse, observation.rate_nats, draws.observed(), kl_weight)

    def bound(self, mse: Tensor, rate_nats: Tensor, observed: Tensor, kl_weight: float | Tensor) -> BoundTerms:
        """The terms of the bound over some predicted frames."""
        bound = self.config.bound
        height, width = parse_size(self.config.size)
        return bound_terms(
            mse,
            rate_nats,
            num_values=3 * height * width,
            variance=None if bound.likelihood_variance == "optimal" else bound.likelihood_variance,
            kl_weight=kl_weight,
            observed=observed,
        )

    def kl_weight(self, epoch: int) -> float:
        bound = self.config.bound
        return kl_weight(
            epoch,
            schedule=bound.kl_schedule,
            peak=bound.kl_peak,
            floor=bound.kl_floor,
            period=bound.kl_period,
            ramp=bound.kl_ramp,
        )

    def state(self) -> dict[str, Any]:
        """Everything an update changes."""
        return {
            "weights": self.predictor.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.predictor.load_state_dict(state["weights"])
        self.averaged.load_state_dict(state["averaged"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
            for group in optimizer.param_groups:
                if "capturable" in group:  # as the device here needs it, not the one that saved
                    group["capturable"] = self.fabric.device.type == "cuda"
        self._build_replays()


def shares_of(given: Sequence[Tensor]) -> list[tuple[Clip, Draws]]:
    """The clips and draws of every share, from their tensors in a row."""
    of_clip, of_share = len(Clip._fields), len(Clip._fields) + len(Draws._fields)
    rows = [given[first : first + of_share] for first in range(0, len(given), of_share)]
    return [(Clip(*row[:of_clip]), Draws(*row[of_clip:])) for row in rows]


def in_order_of(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in its parameter's memory order: fused optimisers go through both as they lie in memory."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def kept_of_average(decay: float, num_averaged: int) -> float:
    """Of an exponential moving average, the share kept at an update: its memory grows with the updates, up to `decay`.

    Without the growth a short run would be averaged with its own random start.
    """
    return min(decay, (1.0 + num_averaged) / (10.0 + num_averaged)) if num_averaged else 0.0
