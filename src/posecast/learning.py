"""One update: observe, backward, step, average; and everything that an update changes.

In: batches from `batches.py`. Out: the named terms of the bound, or that the update was skipped.
Knows no run folder. Next: `training.py`, which repeats this.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from posecast.batches import Batch, Batches
from posecast.config import Config, Training, parse_size
from posecast.data.clips import Clip
from posecast.model.elbo import BoundTerms, bound_terms
from posecast.model.predictor import Draws, Observation, Predictor
from posecast.optimizers import build_optimizers
from posecast.replaying import Replayed
from posecast.schedules import kl_weight, learning_rate


@dataclass(frozen=True)
class Update:
    """What one update did, as plain numbers; `skipped` if the loss or the gradient was not finite."""

    loss: float
    mse: float
    rate_nats: float
    distortion_nats: float
    learning_rate: float
    num_predictions: int
    skipped: bool


class Learner:
    """A predictor, its optimiser and the running average of its weights, under one Fabric."""

    def __init__(self, fabric: Fabric, config: Config, initial: dict[str, Tensor] | None = None) -> None:
        torch.manual_seed(config.seed)
        self.fabric, self.config = fabric, config
        self.predictor = Predictor(config).to(fabric.device)
        self.predictor.in_bfloat16 = fabric._precision.precision == "bf16-mixed"
        if initial is not None:
            self.predictor.load_state_dict(initial)
        self.averaged = AveragedModel(self.predictor)
        self.averaged.eval()
        self.model, *self.optimizers = fabric.setup(self.predictor, *build_optimizers(self.predictor, config.training))
        self.model.train()
        self._averages: list[list[Any]] = [list(module.parameters()) for module in (self.smoothed, self.predictor)]
        self._buffers = list(zip(self.smoothed.buffers(), self.predictor.buffers(), strict=True))
        self._rate = torch.zeros((), device=fabric.device)
        rank, processes = fabric.global_rank, fabric.world_size
        on_gpu = fabric.device.type == "cuda"
        self.batches = Batches(config, self.predictor.latent_shape, rank, processes, pinned=on_gpu)
        self._build_replays()

    def _build_replays(self) -> None:
        """What an update computes, with weights and optimisers' state where they lie now."""
        self._passes = {
            together: self._replayed(functools.partial(self._both_passes, together)) for together in (False, True)
        }
        self._steps = self._replayed(self._step)

    def _replayed(self, function: Callable[..., Any]) -> Replayed:
        # Processes exchange gradients within an update, which is not recorded.
        return Replayed(function, self.fabric.device, records=self.fabric.world_size == 1)

    @property
    def smoothed(self) -> Predictor:
        """The predictor with averaged weights, in evaluation mode: what is validated and kept."""
        module = self.averaged.module
        assert isinstance(module, Predictor)
        return module

    def update(self, batch: Batch, *, num_steps: int) -> Update:
        """One update of so many."""
        rate = learning_rate_at(self.config.training, batch.step, num_steps)
        self.set_learning_rate(rate)
        (loss, mse, nats, distortion, norm), gradients = self.passes(batch)
        skipped = not math.isfinite(norm)
        if not skipped:
            self.apply_gradients(gradients)
        return Update(loss, mse, nats, distortion, rate, batch.draws.forced.numel(), skipped)

    def passes(self, batch: Batch) -> tuple[list[float], list[Tensor]]:
        """Forward and backward: loss, mse, rate, distortion and the gradients' norm, means over processes; gradients.

        Gradients come clipped, and last until the next passes.
        """
        together = bool(batch.draws.forced.all())
        weight = torch.tensor(self.kl_weight(batch.epoch))
        values, gradients = self._passes[together](*batch.clip, *batch.draws, weight)
        return self.fabric.all_reduce(values, reduce_op="mean").tolist(), gradients  # pyright: ignore

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

    def _both_passes(self, together: bool, *given: Tensor) -> tuple[Tensor, list[Tensor]]:
        clip, draws, weight = Clip(*given[:4]), Draws(*given[4:-1]), given[-1]
        self.model.zero_grad(set_to_none=True)
        _, terms = self.observe(clip, draws, kl_weight=weight, together=together)
        self.fabric.backward(terms.loss)
        # Over all parameters: Fabric's own clipping sees one optimiser's only. Gradients are averaged over processes
        # before this, so every process sees the same norm.
        limit = self.config.training.clip_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.predictor.parameters(), limit)
        values = torch.stack((terms.loss, terms.mse, terms.rate_nats, terms.distortion_nats, norm)).detach()
        gradients = [parameter.grad for parameter in self.predictor.parameters() if parameter.grad is not None]
        return values, gradients

    def _step(self, *gradients: Tensor) -> None:
        for parameter, gradient in zip(self.predictor.parameters(), gradients, strict=True):
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
        self.model.zero_grad(set_to_none=True)
        for optimizer in self.optimizers:
            optimizer.state.clear()
        self.averaged.n_averaged.zero_()
        self._build_replays()

    def observe(
        self,
        clip: Clip,
        draws: Draws,
        *,
        kl_weight: float | Tensor,
        model: torch.nn.Module | None = None,
        together: bool | None = None,
    ) -> tuple[Observation, BoundTerms]:
        """Observe a clip and assemble the bound with this KL weight; `together` as in `Predictor.forward`."""
        device = self.fabric.device
        parts = (part.to(device, non_blocking=True) for part in clip)
        draws = Draws(*(part.to(device, non_blocking=True) for part in draws))
        observation = (model or self.model)(*parts, draws, together=together)
        terms = self.bound(observation, kl_weight)
        # Imagined clips have no rate: they weigh in the loss, and must not thin out what is reported of the others.
        observed = 1.0 - draws.imagined.float().mean()
        rate = terms.rate_nats / observed.clamp_min(1.0 / len(draws.imagined))
        return observation, dataclasses.replace(terms, rate_nats=rate)

    def bound(self, observation: Observation, kl_weight: float | Tensor) -> BoundTerms:
        """The terms of the bound over some predicted frames."""
        bound = self.config.bound
        height, width = parse_size(self.config.size)
        return bound_terms(
            observation.mse,
            observation.rate_nats,
            num_values=3 * height * width,
            variance=None if bound.likelihood_variance == "optimal" else bound.likelihood_variance,
            kl_weight=kl_weight,
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
        # Earlier states have one optimiser, under another name.
        saved_optimizers = state["optimizers"] if "optimizers" in state else [state["optimizer"]]
        for optimizer, saved in zip(self.optimizers, saved_optimizers, strict=True):
            optimizer.load_state_dict(saved)
            for group in optimizer.param_groups:
                if "capturable" in group:  # as the device here needs it, not the one that saved
                    group["capturable"] = self.fabric.device.type == "cuda"
        self._build_replays()


def learning_rate_at(training: Training, step: int, num_steps: int) -> float:
    """The schedule's value for a step of so many."""
    return learning_rate(
        step,
        num_steps,
        schedule=training.learning_rate_schedule,
        peak=training.learning_rate,
        warmup_steps=min(training.warmup_steps, num_steps // 2),  # a short run must still reach its peak
        milestones=training.milestones,
        milestone_factor=training.milestone_factor,
    )


def kept_of_average(decay: float, num_averaged: int) -> float:
    """Of an exponential moving average, the share kept at an update: its memory grows with the updates, up to `decay`.

    Without the growth a short run would be averaged with its own random start.
    """
    return min(decay, (1.0 + num_averaged) / (10.0 + num_averaged)) if num_averaged else 0.0
