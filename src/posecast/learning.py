"""One update: observe, backward, step, average; and everything that an update changes.

In: a batch of clips with its draws. Out: the named terms of the bound, or that the update was skipped.
Every random draw is keyed by seed and step, so going on from a saved state needs no generator's memory.
Knows no run folder. Next: `training.py`, which repeats this.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from posecast.config import Config, Training, parse_size
from posecast.data.clips import Clip, ClipCutter, ClipPlan
from posecast.errors import InputError
from posecast.model.elbo import BoundTerms, bound_terms
from posecast.model.predictor import Draws, Observation, Predictor, seeded
from posecast.optimizers import build_optimizers
from posecast.replaying import Replayed
from posecast.schedules import kl_weight, learning_rate, teacher_forcing_rate

# What a draw is for: the first part of its key, so that no two purposes share noise.
NOISE, COIN, VALIDATION, GIVEN, IMAGINED, FIRST_NOISE = range(1_000_001, 1_000_007)


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


class Batch(NamedTuple):
    """What one update learns from: a process's share of it."""

    clip: Clip
    draws: Draws
    step: int
    epoch: int


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

    def prepare(self, cutter: ClipCutter, plan: ClipPlan, *, step: int, epoch: int) -> Batch:
        """This process's share of a plan's clips, and what chance decides about them. May be called in any thread."""
        draws = self.own_share(self.draw(len(plan.start), cutter.clip_length, step, epoch))
        clip = cutter.cut(self.own_share(plan))
        if self.fabric.device.type == "cuda":  # memory that a GPU reads by itself
            clip = Clip(*(part.pin_memory() for part in clip))
            draws = Draws(*(part.contiguous().pin_memory() for part in draws))
        return Batch(clip, draws, step, epoch)

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

    def teacher_forcing_rate(self, epoch: int) -> float:
        training = self.config.training
        return teacher_forcing_rate(
            epoch,
            start=training.teacher_forcing,
            step=training.teacher_forcing_step,
            decay_from=training.teacher_forcing_decay_from,
        )

    def draw(self, num_clips: int, clip_length: int, step: int, epoch: int) -> Draws:
        """All that chance decides in an update, for the whole batch."""
        training, seed = self.config.training, self.config.seed
        shape = (num_clips, clip_length - 1)
        return Draws(
            noise=torch.randn(*shape, *self.predictor.latent_shape, generator=seeded(NOISE, seed, step)),
            first_noise=torch.randn(num_clips, *self.predictor.latent_shape, generator=seeded(FIRST_NOISE, seed, step)),
            forced=self.coins(shape, step, epoch),
            given=torch.rand(num_clips, generator=seeded(GIVEN, seed, step)) >= training.withheld,
            imagined=torch.rand(num_clips, generator=seeded(IMAGINED, seed, step)) < training.imagined,
        )

    def coins(self, shape: tuple[int, int], step: int, epoch: int) -> Tensor:
        """Where the true previous frame is forced: bool `[B, T-1]`, one toss per epoch, batch or frame."""
        rate = self.teacher_forcing_rate(epoch)
        coin = self.config.training.teacher_forcing_coin
        if coin == "frame":
            return torch.rand(shape, generator=seeded(COIN, self.config.seed, 1, step)) < rate
        turn = (0, epoch) if coin == "epoch" else (1, step)
        toss = torch.rand((), generator=seeded(COIN, self.config.seed, *turn))
        return (toss < rate).expand(shape)

    def own_share(self, batch: Any) -> Any:
        """The rows of a global batch that this process works on."""
        rank, processes = self.fabric.global_rank, self.fabric.world_size
        if isinstance(batch, ClipPlan | Draws):
            return type(batch)(*(self.own_share(part) for part in batch))
        share = len(batch) // processes
        return batch[rank * share : (rank + 1) * share]

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


def check_divisible(config: Config, num_processes: int) -> None:
    """Raise InputError unless a batch can be shared out evenly."""
    if config.training.batch_size % num_processes:
        raise InputError(
            f"The batch size is {config.training.batch_size} but there are {num_processes} processes; "
            "choose a batch size that is a multiple of --devices."
        )
