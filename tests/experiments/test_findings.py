"""Findings and verdicts on synthetic curves."""

import pytest

from posecast.evaluation.results import Run
from posecast.experiments.findings import Verdict, claims, findings

from .test_statistics import make_run, outcome

CALM = [1.0, 0.98, 1.0, 0.98, 1.0, 0.98, 1.0, 0.98, 1.0]
WILD = [1.0, 0.5, 1.0, 0.5, 1.0, 0.5, 1.0, 0.5, 1.0]


def forcing(early: list[float], end: float, jitter: float = 0.01) -> list[Run]:
    return [make_run(loss=[x + k * jitter for x in early], validation_loss=[end + k * jitter] * 9) for k in range(3)]


def verdicts(experiment: str, **settings: list[Run]) -> list[Verdict]:
    results = [outcome(name.replace("_", "-").replace("05", "0.5"), *runs) for name, runs in settings.items()]
    return [claim.verdict for claim in claims(experiment, results)]


def test_teacher_forcing_claims_follow_the_curves() -> None:
    calm, wild = forcing(CALM, 2.0), forcing(WILD, 1.0)
    assert verdicts("teacher-forcing", decaying_05=calm, none=wild) == ["confirmed", "confirmed"]
    assert verdicts("teacher-forcing", decaying_05=wild, none=calm) == ["refuted", "refuted"]
    assert verdicts("teacher-forcing", decaying_05=calm, none=calm) == ["undecided", "undecided"]


def test_with_one_seed_every_claim_is_undecided() -> None:
    calm, wild = forcing(CALM, 2.0)[:1], forcing(WILD, 1.0)[:1]
    assert verdicts("teacher-forcing", decaying_05=calm, none=wild) == ["undecided", "undecided"]


def test_a_claim_without_its_runs_is_undecided() -> None:
    [first, _] = claims("teacher-forcing", [outcome("none", *forcing(CALM, 1.0))])
    assert (first.verdict, first.evidence) == ("undecided", "The necessary runs are not finished.")


def annealing(curve: list[float], end_db: float) -> list[Run]:
    psnrs = [20.0, 30.0, 30.0, 30.0, end_db, end_db, end_db]
    return [make_run(validation_loss=[x + 0.01 * k for x in curve], validation_psnr_db=psnrs) for k in range(3)]


def test_kl_annealing_claims_follow_the_curves() -> None:
    calm, wild = annealing(CALM, 30.0), annealing(WILD, 30.0)
    fallen = annealing(CALM, 27.0)
    assert verdicts("kl-annealing", cyclical=wild, monotonic=calm, none=fallen) == ["confirmed", "confirmed"]
    assert verdicts("kl-annealing", cyclical=calm, monotonic=wild, none=wild) == ["refuted", "refuted"]
    assert verdicts("kl-annealing", cyclical=calm, monotonic=wild, none=calm) == ["undecided", "refuted"]


@pytest.mark.parametrize(
    ("wobble_after", "drift", "expected"), [(2.0, 1.0, "confirmed"), (2.0, 0.0, "refuted"), (0.3, 1.0, "refuted")]
)
def test_the_claim_of_wobble_needs_both_wobble_and_cost(wobble_after: float, drift: float, expected: str) -> None:
    runs = []
    for k in range(3):
        run = make_run()
        frames = [20.0 + 0.5 * (-1) ** t for t in range(2, 400)]
        frames += [20.0 + wobble_after * (-1) ** t for t in range(400, 600)]
        run.scores["sequences"] = [{"psnr_db": {"mean": [value + 0.01 * k for value in frames]}}]
        run.scores["drift"] = {"difference_db": drift + 0.01 * k}
        runs.append(run)
    assert verdicts("report", report=runs) == [expected]


def test_findings_state_whether_the_lead_exceeds_the_noise() -> None:
    low, high = (outcome(n, *[make_run(db + k) for k in range(3)]) for n, db in (("low", 20.0), ("high", 22.0)))
    [first, *_] = findings([low, high])
    assert first.startswith("high scores highest")
    assert "beyond the noise" in first
    same = outcome("same", make_run(21.9), make_run(23.4), make_run(23.8))
    assert "within the noise" in findings([high, same])[0]


def test_findings_on_the_latent_and_on_validation() -> None:
    run = make_run(mse=[0.3, 0.2, 0.1] * 3, validation_psnr_db=[20.0, 30.0, 30.0, 30.0, 25.0, 25.0, 25.0, 25.0, 25.0])
    run.log[-1]["mse"] = run.log[-2]["mse"] = run.log[-3]["mse"] = 0.01
    sentences = findings([outcome("one", run)])
    assert any("one: the latent is alive, 2.00 nats per frame, 3 of 8 units active" in s for s in sentences)
    assert any(
        "validation worsens while training improves; its PSNR ends 5.00 dB below its best" in s for s in sentences
    )
    assert any("one seed only" in s for s in sentences)


@pytest.mark.parametrize(
    ("rate", "active", "expected"),
    [
        (2.0, 3, "the latent is alive, 2.00 nats per frame, 3 of 8192 units active."),
        (0.2, 0, "the latent is dead, 0.20 nats per frame, 0 of 8192 units active."),
        (137.0, 0, "mixed, 137.00 nats per frame, 0 of 8192 units active: posterior and prior differ, but no unit's"),
        (0.2, 12, "mixed, 0.20 nats per frame, 12 of 8192 units active: the prior predicts"),
        (None, 0, "nothing is known about the latent"),
    ],
)
def test_rate_and_active_units_decide_together_on_the_latent(rate: float | None, active: int, expected: str) -> None:
    run = make_run(psnr=28.0)
    run.scores["latent"] = {"rate_nats": rate, "active_units": active, "units": 8192}
    [sentence] = [s for s in findings([outcome("one", run)]) if "latent" in s]
    assert expected in sentence
    assert "PSNR" not in sentence  # not scored
    run.scores["reconstruction"] = {"psnr_db": 30.5}
    [sentence] = [s for s in findings([outcome("one", run)]) if "latent" in s]
    gain = "Decoded with the posterior, PSNR is 30.50 dB; predicted from the prior's mean, 28.00 dB (difference 2.50)."
    assert (gain in sentence) == (rate is not None)


def test_there_are_no_findings_without_a_finished_run() -> None:
    assert findings([outcome("empty")]) == []
    assert claims("my-own", [outcome("empty")]) == []
