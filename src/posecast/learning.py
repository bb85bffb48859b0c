"""One update: clip, observe, backward, step, average; and everything that an update changes.

In: a plan of clips, the step's number. Out: the named terms of the bound, or that the update was skipped.
Every random draw is keyed by seed and step, so going on from a saved state needs no generator's memory.
Knows no run folder. Next: `training.py`, which repeats this.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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


class Learner:
    """A predictor, its optimiser and the running average of its weights, under one Fabric."""

    def __init__(self, fabric: Fabric, config: Config, initial: dict[str, Tensor] | None = None) -> None:
        torch.manual_seed(config.seed)
        self.fabric, self.config = fabric, config
        self.predictor = Predictor(config).to(fabric.device)
        self.predictor.in_bfloat16 = fabric._precision.precision == "bf16-mixed"
        if initial is not None:
            self.predictor.load_state_dict(initial)
        self.averaged = AveragedModel(self.predictor, multi_avg_fn=warmed_average(config.training.ema_decay))
        self.averaged.eval()
        self.model, *self.optimizers = fabric.setup(self.predictor, *build_optimizers(self.predictor, config.training))
        self.model.train()

    @property
    def smoothed(self) -> Predictor:
        """The predictor with averaged weights, in evaluation mode: what is validated and kept."""
        module = self.averaged.module
        assert isinstance(module, Predictor)
        return module

    def update(self, cutter: ClipCutter, plan: ClipPlan, *, step: int, epoch: int, num_steps: int) -> Update:
        """One update on the clips of a plan; this process takes its share of them."""
        rate = set_learning_rate(self.optimizers, self.config.training, step, num_steps)
        draws = self.draw(len(plan.start), cutter.clip_length, step, epoch)
        observation, terms = self.observe(cutter.cut(self.own_share(plan)), self.own_share(draws), epoch=epoch)
        self.model.zero_grad(set_to_none=True)
        self.fabric.backward(terms.loss)
        skipped = not self.apply_gradients()
        loss, mse, nats, distortion = self._mean_over_processes(terms)
        return Update(loss, mse, nats, distortion, rate, observation.mse.numel(), skipped)

    def apply_gradients(self) -> bool:
        """Clip, step and average; False, and nothing changed, if a gradient is not finite."""
        # Over all parameters: Fabric's own clipping sees one optimiser's only.
        limit = self.config.training.clip_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.predictor.parameters(), limit)
        # Gradients are averaged over processes before this, so every process sees the same norm.
        if not bool(torch.isfinite(norm)):
            return False
        for optimizer in self.optimizers:
            optimizer.step()
        self.averaged.update_parameters(self.predictor)
        return True

    def forget_gradients(self) -> None:
        """Drop gradients, and all that the optimiser and the average remember of them."""
        self.model.zero_grad(set_to_none=True)
        for optimizer in self.optimizers:
            optimizer.state.clear()
        self.averaged.n_averaged.zero_()

    def observe(
        self, clip: Clip, draws: Draws, *, epoch: int, model: torch.nn.Module | None = None
    ) -> tuple[Observation, BoundTerms]:
        """Observe a clip and assemble the bound with this epoch's KL weight."""
        device = self.fabric.device
        parts = (part.to(device, non_blocking=True) for part in clip)
        draws = Draws(*(part.to(device, non_blocking=True) for part in draws))
        observation = (model or self.model)(*parts, draws)
        terms = self.bound(observation, epoch)
        # Imagined clips have no rate: they weigh in the loss, and must not thin out what is reported of the others.
        observed = 1.0 - draws.imagined.float().mean()
        rate = terms.rate_nats / observed.clamp_min(1.0 / len(draws.imagined))
        return observation, dataclasses.replace(terms, rate_nats=rate)

    def bound(self, observation: Observation, epoch: int) -> BoundTerms:
        """The terms of the bound over some predicted frames."""
        bound = self.config.bound
        height, width = parse_size(self.config.size)
        return bound_terms(
            observation.mse,
            observation.rate_nats,
            num_values=3 * height * width,
            variance=None if bound.likelihood_variance == "optimal" else bound.likelihood_variance,
            kl_weight=self.kl_weight(epoch),
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

    def _mean_over_processes(self, terms: BoundTerms) -> list[float]:
        values = torch.stack((terms.loss, terms.mse, terms.rate_nats, terms.distortion_nats)).detach()
        return self.fabric.all_reduce(values, reduce_op="mean").tolist()  # pyright: ignore

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


def set_learning_rate(
    optimizers: Sequence[torch.optim.Optimizer], training: Training, step: int, num_steps: int
) -> float:
    """Put the schedule's value for this step into the optimisers, and return it."""
    rate = learning_rate(
        step,
        num_steps,
        schedule=training.learning_rate_schedule,
        peak=training.learning_rate,
        warmup_steps=min(training.warmup_steps, num_steps // 2),  # a short run must still reach its peak
        milestones=training.milestones,
        milestone_factor=training.milestone_factor,
    )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
    return rate


def warmed_average(decay: float) -> Any:
    """An exponential moving average whose memory grows with the updates seen, up to `decay`.

    Without the growth a short run would be averaged with its own random start.
    """

    @torch.no_grad()
    def average(averaged: list[Tensor], current: list[Tensor], num_averaged: Tensor | int) -> None:
        seen = float(num_averaged)
        kept = min(decay, (1.0 + seen) / (10.0 + seen))
        torch._foreach_lerp_(averaged, current, 1.0 - kept)  # pyright: ignore[reportPrivateImportUsage]

    return average


def check_divisible(config: Config, num_processes: int) -> None:
    """Raise InputError unless a batch can be shared out evenly."""
    if config.training.batch_size % num_processes:
        raise InputError(
            f"The batch size is {config.training.batch_size} but there are {num_processes} processes; "
            "choose a batch size that is a multiple of --devices."
        )
