"""What an experiment shows, in sentences computed from its curves; and the report's claims held against it.

In: outcomes. Out: findings, and for each claim of the course report a verdict with its figures. A difference counts
only where its 95 % interval over seeds (paired) leaves out 0. Next: `experiment_report.py`, which puts them on a page.
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
"""Frames at the start and at the end of a rollout that are held against each other; a quarter of a short one."""
NOTABLE_DB = 0.25
"""Validation that ends so far under its best has worsened."""
ALIVE_NATS = 1.0


@dataclass(frozen=True)
class Claim:
    """A sentence of the course report, and what this experiment says of it."""

    sentence: str
    verdict: Verdict
    evidence: str


def findings(found: Sequence[Outcome]) -> list[str]:
    """Sentences about settings that have at least one finished run."""
    known = [one for one in found if one.runs]
    if not known:
        return []
    said = [ranking(known)] if len(known) > 1 else []
    if max(len(one.runs) for one in known) < 2:
        said.append("There is one seed only, so no difference can be told from noise.")
    said.append(calmness(known))
    said += [worsening(one) for one in known]
    said += [along_the_frames(one) for one in known]
    said += [aliveness(one) for one in known]
    return said


def ranking(known: Sequence[Outcome]) -> str:
    """Which setting ends higher, and whether that is more than noise."""
    ordered = sorted(known, key=lambda one: -one.estimate(psnr_db).mean)
    said = f"{ordered[0].name} scores highest, {ordered[0].estimate(psnr_db)} dB"
    parts = []
    for other in ordered[1:]:
        difference = paired(ordered[0], other, psnr_db)
        beyond = "beyond the noise over seeds" if difference.sign > 0 else "within the noise over seeds"
        beyond = beyond if difference.num_seeds > 1 else "one seed: undecided"
        parts.append(f"{difference} dB above {other.name} ({beyond})")
    return f"{said}: {', '.join(parts)}."


def calmness(known: Sequence[Outcome]) -> str:
    """How much the training loss swings from epoch to epoch."""
    swings = sorted(((one.estimate(swing("loss")), one.name) for one in known), key=lambda pair: pair[0].mean)
    return "From epoch to epoch the training loss changes by " + ", ".join(f"{s} % ({n})" for s, n in swings) + "."


def worsening(one: Outcome) -> str:
    """Whether validation worsens while training improves."""
    fall = one.estimate(fall_db)
    improved = one.estimate(lambda run: early(run, "mse") - ending("mse")(run))
    worse = fall.mean - (fall.half_width if math.isfinite(fall.half_width) else 0.0) > NOTABLE_DB
    if worse and improved.mean > 0:
        return f"{one.name}: validation worsens while training improves; its PSNR ends {fall} dB under its best."
    return f"{one.name}: validation does not worsen notably; its PSNR ends {fall} dB under its best."


def early(run: Run, key: str) -> float:
    """A logged quantity in the first three epochs."""
    known = [value for value in run.column(key) if math.isfinite(value)][:3]
    return sum(known) / len(known) if known else math.nan


def along_the_frames(one: Outcome) -> str:
    """Where along the frames a setting loses."""
    length = one.frames_db().shape[1]
    stretch = max(1, min(STRETCH, length // 4))
    start, end = one.estimate(stretch_db(0, stretch)), one.estimate(stretch_db(-stretch, None))
    edges = [round(k * length / 10) for k in range(11)]
    means = [one.estimate(stretch_db(a, b)).mean for a, b in pairwise(edges) if b > a]
    worst = min(range(len(means)), key=lambda k: means[k])
    where = f"lowest at {means[worst]:.2f} dB over frames {edges[worst] + 2} to {edges[worst + 1] + 1}"
    drift = one.estimate(lambda run: run.score("drift", "difference_db"))
    cost = f" Feeding predictions back costs {drift} dB by the end." if math.isfinite(drift.mean) else ""
    return f"{one.name}: {start} dB over its first {stretch} frames, {end} over its last; {where}.{cost}"


def aliveness(one: Outcome) -> str:
    """Whether the latent carries anything."""
    rate = one.estimate(lambda run: run.score("latent", "rate_nats"))
    active = one.estimate(lambda run: run.score("latent", "active_units"))
    units = one.estimate(lambda run: run.score("latent", "units")).mean
    alive = rate.mean >= ALIVE_NATS and active.mean >= 1.0
    return (
        f"{one.name}: the latent is {'alive' if alive else 'dead'}, {rate} nats per frame, "
        f"{active.mean:.0f} of {units:.0f} units active."
    )


def claims(experiment: str, found: Sequence[Outcome]) -> list[Claim]:
    """The report's claims that this experiment can judge; none for an experiment of the user's own."""
    named = {one.name: one for one in found if one.runs}
    judged = []
    for sentence, settings, judge in CLAIMS.get(experiment, ()):
        if all(name in named for name in settings):
            judged.append(Claim(sentence, *judge(*(named[name] for name in settings))))
        else:
            judged.append(Claim(sentence, "undecided", "The runs that it needs are not finished."))
    return judged


def calms_early(forced: Outcome, free: Outcome) -> tuple[Verdict, str]:
    early_swing = swing("loss", 0.0, 1 / 3)
    return compared("change of the training loss per epoch, first third, %", early_swing, forced, free, expected=-1)


def leaves_validation_high(forced: Outcome, free: Outcome) -> tuple[Verdict, str]:
    return compared("validation loss at the end, x 1000", scaled(ending("validation_loss")), forced, free, expected=1)


def swings(cyclical: Outcome, *others: Outcome) -> tuple[Verdict, str]:
    """The cyclical schedule against each other one: all must agree."""
    measure = swing("validation_loss")
    judged = [
        compared("change of the validation loss per epoch, %", measure, cyclical, other, expected=1) for other in others
    ]
    first = judged[0][0]
    agreed: Verdict = first if all(verdict == first for verdict, _ in judged) else "undecided"
    return agreed, " ".join(evidence for _, evidence in judged)


def overfits(one: Outcome) -> tuple[Verdict, str]:
    fall = one.estimate(fall_db)
    evidence = f"Validation PSNR ends {fall} dB under its best; {NOTABLE_DB} dB would be notable."
    return against_threshold(fall, NOTABLE_DB), evidence


def wobbles(one: Outcome) -> tuple[Verdict, str]:
    """More wobble after frame 400 than before, and a cost of errors in earlier frames: both must hold."""
    more = one.estimate(lambda run: wobble_db(399, None)(run) - wobble_db(0, 399)(run))
    drift = one.estimate(lambda run: run.score("drift", "difference_db"))
    evidence = (
        f"From frame 400 on PSNR changes from frame to frame by {more} dB more than before; "
        f"errors in earlier frames cost {drift} dB by the end."
    )
    verdicts = (against_threshold(more, 0.0), against_threshold(drift, NOTABLE_DB))
    if "refuted" in verdicts:
        return "refuted", evidence
    return ("confirmed" if set(verdicts) == {"confirmed"} else "undecided"), evidence


def against_threshold(value: Estimate, threshold: float) -> Verdict:
    """Whether a value lies above a threshold, interval and all."""
    if value.mean - value.half_width > threshold:
        return "confirmed"
    return "refuted" if value.mean + value.half_width < threshold else "undecided"


def compared(
    what: str, measure: Callable[[Run], float], one: Outcome, other: Outcome, *, expected: int
) -> tuple[Verdict, str]:
    """Whether `one` differs from `other` in the expected direction, beyond the noise over seeds."""
    difference = paired(one, other, measure)
    verdict: Verdict = "undecided"
    if difference.sign:
        verdict = "confirmed" if difference.sign == expected else "refuted"
    return verdict, (
        f"{what.capitalize()}: {one.estimate(measure)} ({one.name}), {other.estimate(measure)} ({other.name}); "
        f"difference {difference}."
    )


def scaled(measure: Callable[[Run], float], factor: float = 1000.0) -> Callable[[Run], float]:
    return lambda run: factor * measure(run)


CLAIMS: dict[str, tuple[tuple[str, tuple[str, ...], Callable[..., tuple[Verdict, str]]], ...]] = {
    "teacher-forcing": (
        ("Teacher forcing calms the training loss early.", ("decaying-0.5", "none"), calms_early),
        ("Teacher forcing leaves the validation loss high.", ("decaying-0.5", "none"), leaves_validation_high),
    ),
    "kl-annealing": (
        ("Cyclical annealing makes the validation loss swing.", ("cyclical", "monotonic", "none"), swings),
        ("Without annealing the model overfits.", ("none",), overfits),
    ),
    "report": (("PSNR wobbles from frame 400 on, as errors add up.", ("report",), wobbles),),
}
