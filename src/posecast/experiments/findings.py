"""Findings of an experiment in sentences, and verdicts on the claims of the course report.

In: outcomes. Out: sentences computed from their curves, and a `Claim` for each claim of the report.
Scores are ranked by tests of all pairs of settings together (`significance.py`). A claim names its settings beforehand:
its difference counts if the 95 % interval over seeds (paired) does not contain 0.
Next: `reporting/experiment_report.py`, which puts them on a page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from posecast.evaluation.results import Run
from posecast.experiments.statistics import (
    Estimate,
    Outcome,
    beyond_noise,
    ending,
    fall_db,
    paired,
    psnr_db,
    stretch_db,
    swing,
    wobble_db,
)

Verdict = Literal["confirmed", "refuted", "undecided"]
STRETCH = 100
"""Number of frames at the start and at the end of a rollout that are compared; at most a quarter of the rollout."""
NOTABLE_DB = 0.25
"""Fall of validation PSNR below its best that counts as worsening."""
ALIVE_NATS, ALIVE_UNITS = 1.0, 1.0
"""Rate in nats per frame, and number of active units, at which a latent counts as alive; below both it is dead."""


@dataclass(frozen=True)
class Claim:
    """Sentence of the course report, with this experiment's verdict and the figures behind it."""

    sentence: str
    verdict: Verdict
    evidence: str


def findings(results: Sequence[Outcome]) -> list[str]:
    """Return sentences about the settings that have at least one finished run."""
    finished = [outcome for outcome in results if outcome.runs]
    if not finished:
        return []
    sentences = [rank(finished)] if len(finished) > 1 else []
    if max(len(outcome.runs) for outcome in finished) < 2:
        sentences.append("There is one seed only, so no difference can be distinguished from noise.")
    sentences.append(describe_swings(finished))
    sentences += [describe_worsening(outcome) for outcome in finished]
    sentences += [describe_frames(outcome) for outcome in finished]
    sentences += [describe_latent(outcome) for outcome in finished]
    return sentences


def rank(finished: Sequence[Outcome]) -> str:
    """Name the setting with the highest score, and whether its lead over each other setting exceeds the noise."""
    best, *others = sorted(finished, key=lambda outcome: -outcome.estimate(psnr_db).mean)
    found = beyond_noise(finished, psnr_db)
    parts = []
    for other in others:
        difference = paired(best, other, psnr_db)
        remark = f"{'beyond' if (best.name, other.name) in found else 'within'} the noise over seeds"
        remark = remark if difference.num_seeds > 1 else "one seed: undecided"
        parts.append(f"{difference} dB above {other.name} ({remark})")
    return f"{best.name} scores highest, {best.estimate(psnr_db)} dB: {', '.join(parts)}."


def describe_swings(finished: Sequence[Outcome]) -> str:
    """State by how much the training loss changes from epoch to epoch."""
    swings = [(outcome.estimate(swing("loss")), outcome.name) for outcome in finished]
    swings.sort(key=lambda pair: pair[0].mean)
    parts = ", ".join(f"{estimate} % ({name})" for estimate, name in swings)
    return f"From epoch to epoch the training loss changes by {parts}."


def describe_worsening(outcome: Outcome) -> str:
    """State whether validation worsens while training improves."""
    fall = outcome.estimate(fall_db)
    improvement = outcome.estimate(lambda run: beginning(run, "mse") - ending("mse")(run))
    lower_bound = fall.mean - (fall.half_width if math.isfinite(fall.half_width) else 0.0)
    if lower_bound > NOTABLE_DB and improvement.mean > 0:
        return f"{outcome.name}: validation worsens while training improves; its PSNR ends {fall} dB below its best."
    return f"{outcome.name}: validation does not worsen notably; its PSNR ends {fall} dB below its best."


def beginning(run: Run, key: str) -> float:
    """Return the mean of a logged quantity over the first three epochs that have a value."""
    finite = [value for value in run.column(key) if math.isfinite(value)][:3]
    return sum(finite) / len(finite) if finite else math.nan


def describe_frames(outcome: Outcome) -> str:
    """State PSNR at the start and at the end of the rollout, and the tenth of the frames where it is lowest."""
    length = outcome.frames_db().shape[1]
    stretch = max(1, min(STRETCH, length // 4))
    start, end = outcome.estimate(stretch_db(0, stretch)), outcome.estimate(stretch_db(-stretch, None))
    edges = [round(k * length / 10) for k in range(11)]
    means = [outcome.estimate(stretch_db(a, b)).mean for a, b in pairwise(edges) if b > a]
    worst = min(range(len(means)), key=lambda k: means[k])
    lowest = f"lowest at {means[worst]:.2f} dB over frames {edges[worst] + 2} to {edges[worst + 1] + 1}"
    drift = outcome.estimate(lambda run: run.score("drift", "difference_db"))
    cost = f" Feeding predictions back costs {drift} dB by the end." if math.isfinite(drift.mean) else ""
    return f"{outcome.name}: {start} dB over its first {stretch} frames, {end} over its last; {lowest}.{cost}"


def describe_latent(outcome: Outcome) -> str:
    """State rate, active units and PSNR of posterior and prior, and whether the latent is alive.

    The rate compares posterior and prior in each frame; active units count where the posterior's mean changes between
    frames. If only one of them is above its threshold, the latent is neither alive nor dead.
    """
    rate = outcome.estimate(lambda run: run.score("latent", "rate_nats"))
    active = outcome.estimate(lambda run: run.score("latent", "active_units")).mean
    units = outcome.estimate(lambda run: run.score("latent", "units")).mean
    figures = f"{rate} nats per frame, {active:.0f} of {units:.0f} units active"
    has_rate, has_units = rate.mean >= ALIVE_NATS, active >= ALIVE_UNITS
    if not (math.isfinite(rate.mean) and math.isfinite(active)):
        return f"{outcome.name}: nothing is known about the latent; its rate and active units were not scored."
    if has_rate == has_units:
        sentence = f"the latent is {'alive' if has_rate else 'dead'}, {figures}."
    elif has_rate:
        sentence = (
            f"the evidence on the latent is mixed, {figures}: posterior and prior differ, but no unit's mean changes "
            "notably between frames."
        )
    else:
        sentence = f"the evidence on the latent is mixed, {figures}: the prior predicts how the units change."
    posterior = outcome.estimate(lambda run: run.score("reconstruction", "psnr_db"))
    if math.isfinite(posterior.mean):
        gain = outcome.estimate(lambda run: run.score("reconstruction", "psnr_db") - psnr_db(run))
        prior = outcome.estimate(psnr_db)
        sentence += f" Decoded with the posterior, PSNR is {posterior} dB; predicted from the prior's mean, {prior} dB"
        sentence += f" (difference {gain})."
    return f"{outcome.name}: {sentence}"


def claims(experiment: str, results: Sequence[Outcome]) -> list[Claim]:
    """Return the report's claims about a built-in experiment with their verdicts; none for a user's own experiment."""
    finished = {outcome.name: outcome for outcome in results if outcome.runs}
    judged = []
    for sentence, settings, judge in CLAIMS.get(experiment, ()):
        if all(name in finished for name in settings):
            judged.append(Claim(sentence, *judge(*(finished[name] for name in settings))))
        else:
            judged.append(Claim(sentence, "undecided", "The necessary runs are not finished."))
    return judged


def judge_early_swing(forced: Outcome, free: Outcome) -> tuple[Verdict, str]:
    early_swing = swing("loss", 0.0, 1 / 3)
    return compare("change of the training loss per epoch, first third, %", early_swing, forced, free, expected=-1)


def judge_validation_loss(forced: Outcome, free: Outcome) -> tuple[Verdict, str]:
    return compare("validation loss at the end, x 1000", scaled(ending("validation_loss")), forced, free, expected=1)


def judge_cyclical_swing(cyclical: Outcome, *others: Outcome) -> tuple[Verdict, str]:
    """Compare the cyclical schedule with each other one; a verdict needs agreement."""
    measure = swing("validation_loss")
    label = "change of the validation loss per epoch, %"
    comparisons = [compare(label, measure, cyclical, other, expected=1) for other in others]
    verdicts: set[Verdict] = {verdict for verdict, _ in comparisons}
    evidence = " ".join(evidence for _, evidence in comparisons)
    return (verdicts.pop() if len(verdicts) == 1 else "undecided"), evidence


def judge_overfitting(outcome: Outcome) -> tuple[Verdict, str]:
    fall = outcome.estimate(fall_db)
    evidence = f"Validation PSNR ends {fall} dB below its best; {NOTABLE_DB} dB would be notable."
    return against_threshold(fall, NOTABLE_DB), evidence


def judge_wobble(outcome: Outcome) -> tuple[Verdict, str]:
    """Require both more wobble after frame 400 than before and a cost of errors in earlier frames."""
    first = 400 - 2  # the first predicted frame is frame 2
    increase = outcome.estimate(lambda run: wobble_db(first, None)(run) - wobble_db(0, first)(run))
    drift = outcome.estimate(lambda run: run.score("drift", "difference_db"))
    evidence = (
        f"After frame 400 PSNR changes from frame to frame by {increase} dB more than before; "
        f"errors in earlier frames cost {drift} dB by the end."
    )
    verdicts = {against_threshold(increase, 0.0), against_threshold(drift, NOTABLE_DB)}
    if "refuted" in verdicts:
        return "refuted", evidence
    return ("confirmed" if verdicts == {"confirmed"} else "undecided"), evidence


def against_threshold(value: Estimate, threshold: float) -> Verdict:
    """Return "confirmed" for an interval above a threshold, "refuted" for one below it."""
    if value.mean - value.half_width > threshold:
        return "confirmed"
    return "refuted" if value.mean + value.half_width < threshold else "undecided"


def compare(
    label: str, measure: Callable[[Run], float], outcome: Outcome, other: Outcome, *, expected: int
) -> tuple[Verdict, str]:
    """Return whether `outcome` less `other` has the expected sign beyond the noise over seeds, and the figures."""
    difference = paired(outcome, other, measure)
    verdict: Verdict = "undecided"
    if difference.sign:
        verdict = "confirmed" if difference.sign == expected else "refuted"
    return verdict, (
        f"{label.capitalize()}: {outcome.estimate(measure)} ({outcome.name}), {other.estimate(measure)} "
        f"({other.name}); difference {difference}."
    )


def scaled(measure: Callable[[Run], float], factor: float = 1000.0) -> Callable[[Run], float]:
    return lambda run: factor * measure(run)


CLAIMS: dict[str, tuple[tuple[str, tuple[str, ...], Callable[..., tuple[Verdict, str]]], ...]] = {
    "teacher-forcing": (
        ("Teacher forcing calms the training loss early.", ("decaying-0.5", "none"), judge_early_swing),
        ("Teacher forcing leaves the validation loss high.", ("decaying-0.5", "none"), judge_validation_loss),
    ),
    "kl-annealing": (
        (
            "Cyclical annealing makes the validation loss swing.",
            ("cyclical", "monotonic", "none"),
            judge_cyclical_swing,
        ),
        ("Without annealing the model overfits.", ("none",), judge_overfitting),
    ),
    "report": (("PSNR wobbles from frame 400 on, as errors add up.", ("report",), judge_wobble),),
}
"""For each experiment the claims, the settings that they compare, and the function that judges these."""
