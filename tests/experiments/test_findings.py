"""Sentences and verdicts: each is true of curves made so, and turns when the curves do."""

import pytest

from posecast.experiments.findings import Verdict, claims, findings

from .test_statistics import made_up, outcome

CALM = [1.0, 0.98, 1.0, 0.98, 1.0, 0.98, 1.0, 0.98, 1.0]
WILD = [1.0, 0.5, 1.0, 0.5, 1.0, 0.5, 1.0, 0.5, 1.0]


def forcing(early: list, end: float, jitter: float = 0.01) -> list:
    return [made_up(loss=[x + k * jitter for x in early], validation_loss=[end + k * jitter] * 9) for k in range(3)]


def verdicts(experiment: str, **settings: list) -> list[Verdict]:
    found = [outcome(name.replace("_", "-").replace("05", "0.5"), *runs) for name, runs in settings.items()]
    return [claim.verdict for claim in claims(experiment, found)]


def test_teacher_forcing_claims_follow_the_curves() -> None:
    calm, wild = forcing(CALM, 2.0), forcing(WILD, 1.0)
    assert verdicts("teacher-forcing", decaying_05=calm, none=wild) == ["confirmed", "confirmed"]
    assert verdicts("teacher-forcing", decaying_05=wild, none=calm) == ["refuted", "refuted"]
    assert verdicts("teacher-forcing", decaying_05=calm, none=calm) == ["undecided", "undecided"]


def test_one_seed_leaves_everything_undecided() -> None:
    calm, wild = forcing(CALM, 2.0)[:1], forcing(WILD, 1.0)[:1]
    assert verdicts("teacher-forcing", decaying_05=calm, none=wild) == ["undecided", "undecided"]


def test_a_claim_without_its_runs_is_undecided() -> None:
    [first, _] = claims("teacher-forcing", [outcome("none", *forcing(CALM, 1.0))])
    assert (first.verdict, first.evidence) == ("undecided", "The runs that it needs are not finished.")


def annealing(curve: list, end_db: float) -> list:
    psnrs = [20.0, 30.0, 30.0, 30.0, end_db, end_db, end_db]
    return [made_up(validation_loss=[x + 0.01 * k for x in curve], validation_psnr_db=psnrs) for k in range(3)]


def test_kl_annealing_claims_follow_the_curves() -> None:
    calm, wild = annealing(CALM, 30.0), annealing(WILD, 30.0)
    fallen = annealing(CALM, 27.0)
    assert verdicts("kl-annealing", cyclical=wild, monotonic=calm, none=fallen) == ["confirmed", "confirmed"]
    assert verdicts("kl-annealing", cyclical=calm, monotonic=wild, none=wild) == ["refuted", "refuted"]
    assert verdicts("kl-annealing", cyclical=calm, monotonic=wild, none=calm) == ["undecided", "refuted"]


@pytest.mark.parametrize(
    ("wobble_after", "drift", "expected"), [(2.0, 1.0, "confirmed"), (2.0, 0.0, "refuted"), (0.3, 1.0, "refuted")]
)
def test_wobble_and_cost_must_both_be_seen(wobble_after: float, drift: float, expected: str) -> None:
    runs = []
    for k in range(3):
        run = made_up()
        frames = [20.0 + 0.5 * (-1) ** t for t in range(399)]
        frames += [20.0 + wobble_after * (-1) ** t for t in range(200)]
        run.scores["sequences"] = [{"psnr_db": {"mean": [value + 0.01 * k for value in frames]}}]
        run.scores["drift"] = {"difference_db": drift + 0.01 * k}
        runs.append(run)
    assert verdicts("report", report=runs) == [expected]


def test_findings_name_the_winner_only_beyond_the_noise() -> None:
    low, high = (outcome(n, *[made_up(db + k) for k in range(3)]) for n, db in (("low", 20.0), ("high", 22.0)))
    [first, *_] = findings([low, high])
    assert first.startswith("high scores highest")
    assert "beyond the noise" in first
    same = outcome("same", made_up(21.9), made_up(23.4), made_up(23.8))
    assert "within the noise" in findings([high, same])[0]


def test_findings_on_the_latent_and_on_validation() -> None:
    run = made_up(mse=[0.3, 0.2, 0.1] * 3, validation_psnr_db=[20.0, 30.0, 30.0, 30.0, 25.0, 25.0, 25.0, 25.0, 25.0])
    run.log[-1]["mse"] = run.log[-2]["mse"] = run.log[-3]["mse"] = 0.01
    said = findings([outcome("one", run)])
    assert any("one: the latent is alive, 2.00 nats per frame, 3 of 8 units active" in s for s in said)
    assert any("validation worsens while training improves; its PSNR ends 5.00 dB under its best" in s for s in said)
    assert any("one seed only" in s for s in said)
    run.scores["latent"]["active_units"] = 0
    assert any("the latent is dead" in s for s in findings([outcome("one", run)]))


def test_nothing_finished_says_nothing() -> None:
    assert findings([outcome("empty")]) == []
    assert claims("my-own", [outcome("empty")]) == []
