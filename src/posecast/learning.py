"""One update: clip, observe, backward, step, average; and everything that an update changes.

In: a plan of clips, the step's number. Out: the named terms of the bound, or that the update was skipped.
Every random draw is keyed by seed and step, so going on from a saved state needs no generator's memory.
Knows no run folder. Next: `training.py`, which repeats this.
"""

from __future__ import annotations

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
from posecast.model.predictor import Observation, Predictor, seeded
from posecast.schedules import kl_weight, learning_rate, teacher_forcing_rate

# What a draw is for: the first part of its key, so that no two purposes share noise.
NOISE, COIN, VALIDATION = 1_000_001, 1_000_002, 1_000_003


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
        if initial is not None:
            self.predictor.load_state_dict(initial)
        self.averaged = AveragedModel(self.predictor, multi_avg_fn=warmed_average(config.training.ema_decay))
        self.averaged.eval()
        optimizer = build_optimizer(self.predictor, config.training)
        self.model, self.optimizer = fabric.setup(self.predictor, optimizer)
        self.model.train()

    @property
    def smoothed(self) -> Predictor:
        """The predictor with averaged weights, in evaluation mode: what is validated and kept."""
        module = self.averaged.module
        assert isinstance(module, Predictor)
        return module

    def update(self, cutter: ClipCutter, plan: ClipPlan, *, step: int, epoch: int, num_steps: int) -> Update:
        """One update on the clips of a plan; this process takes its share of them."""
        training = self.config.training
        rate = set_learning_rate(self.optimizer, training, step, num_steps)
        observation, terms = self.observe(
            cutter.cut(self.own_share(plan)),
            forced=self.own_share(self.coins(len(plan.start), step, epoch)),
            noise=self.own_share(self.noise(len(plan.start), step)),
            epoch=epoch,
        )
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(terms.loss)
        skipped = not self.apply_gradients()
        loss, mse, nats, distortion = self._mean_over_processes(terms)
        return Update(loss, mse, nats, distortion, rate, observation.mse.numel(), skipped)

    def apply_gradients(self) -> bool:
        """Clip, step and average; False, and nothing changed, if a gradient is not finite."""
        norm = self.fabric.clip_gradients(
            self.model,
            self.optimizer,
            max_norm=self.config.training.clip_norm or float("inf"),
            error_if_nonfinite=False,
        )
        # Gradients are averaged over processes before this, so every process sees the same norm.
        if norm is None or not bool(torch.isfinite(norm)):
            return False
        self.optimizer.step()
        self.averaged.update_parameters(self.predictor)
        return True

    def forget_gradients(self) -> None:
        """Drop gradients, and all that the optimiser and the average remember of them."""
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()
        self.averaged.n_averaged.zero_()

    def observe(
        self, clip: Clip, *, forced: Tensor, noise: Tensor, epoch: int, model: torch.nn.Module | None = None
    ) -> tuple[Observation, BoundTerms]:
        """Observe a clip and assemble the bound with this epoch's KL weight."""
        device = self.fabric.device
        parts = (part.to(device, non_blocking=True) for part in clip)
        observation = (model or self.model)(*parts, forced, noise.to(device, non_blocking=True))
        return observation, self.bound(observation, epoch)

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

    def coins(self, num_clips: int, step: int, epoch: int) -> Tensor:
        """Where the true previous frame is forced: bool `[B, T-1]`, one toss per epoch, batch or frame."""
        shape = (num_clips, self.config.training.clip_length - 1)
        rate = self.teacher_forcing_rate(epoch)
        coin = self.config.training.teacher_forcing_coin
        if coin == "frame":
            return torch.rand(shape, generator=seeded(COIN, self.config.seed, 1, step)) < rate
        turn = (0, epoch) if coin == "epoch" else (1, step)
        toss = torch.rand((), generator=seeded(COIN, self.config.seed, *turn))
        return (toss < rate).expand(shape)

    def noise(self, num_clips: int, step: int) -> Tensor:
        """The posterior's noise for a batch of clips: `[B, T-1, Z, h, w]`."""
        shape = (num_clips, self.config.training.clip_length - 1, *self.predictor.latent_shape)
        return torch.randn(shape, generator=seeded(NOISE, self.config.seed, step))

    def own_share(self, batch: Any) -> Any:
        """The rows of a global batch that this process works on."""
        rank, processes = self.fabric.global_rank, self.fabric.world_size
        if isinstance(batch, ClipPlan):
            return ClipPlan(*(self.own_share(part) for part in batch))
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
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.predictor.load_state_dict(state["weights"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])


def build_optimizer(predictor: Predictor, training: Training) -> torch.optim.Optimizer:
    """Adam or AdamW over all parameters, fused."""
    betas = (training.beta1, training.beta2)
    if training.optimizer == "adam":
        return torch.optim.Adam(predictor.parameters(), lr=training.learning_rate, betas=betas, fused=True)
    return torch.optim.AdamW(
        predictor.parameters(),
        lr=training.learning_rate,
        betas=betas,
        weight_decay=training.weight_decay,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, training: Training, step: int, num_steps: int) -> float:
    """Put the schedule's value for this step into the optimiser, and return it."""
    rate = learning_rate(
        step,
        num_steps,
        schedule=training.learning_rate_schedule,
        peak=training.learning_rate,
        warmup_steps=min(training.warmup_steps, num_steps // 2),  # a short run must still reach its peak
        milestones=training.milestones,
        milestone_factor=training.milestone_factor,
    )
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
