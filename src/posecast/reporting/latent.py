"""The report's part about the latent: what z carries, what the prior makes of it, and how futures spread.

In: a run's scores and pictures. Out: HTML. Computes nothing. Next: `run_report.py`, the page.
"""

from __future__ import annotations

import math
from typing import Any

from posecast.evaluation.results import Run, number
from posecast.reporting import html as page
from posecast.reporting.html import shown, text
from posecast.reporting.plots import COLOURS, Curve


def latent_section(run: Run) -> str:
    """What z carries and does, from the posterior, which sees the truth, and from the prior, which does not."""
    psnr_db = run.score("reconstruction", "psnr_db")
    if not math.isfinite(psnr_db):
        return ""
    keys = ("rate_nats", "active_units", "units")
    rate, active, units = (run.score("latent", key) for key in keys)
    said = [
        f"Reconstruction: {shown(psnr_db)} dB. It uses the posterior, which sees the target: not a prediction, but "
        f"what z carries. Rate: {shown(rate)} nats per frame; {shown(active, 0)} of {shown(units, 0)} units are active."
    ]
    plain, weighted = (run.score("bounds", key) for key in ("plain", "weighted"))
    if math.isfinite(plain):
        said.append(
            f"log p of the first sequence given its first frame and poses is at least {shown(plain, 0)} nats per frame "
            f"by the plain bound, {shown(weighted, 0)} by the importance-weighted one with "
            f"{shown(run.score('bounds', 'particles'), 0)} particles."
        )
    parts = [f"<h3>The latent</h3><p>{' '.join(said)}</p>", _factors(run), _futures(run)]
    if run.traversals:
        note = (
            "One pose, z moved from -2.5 to 2.5 standard deviations along the directions that change the picture most."
        )
        parts += [f'<p class="quiet">{note}</p>', *(page.picture(path) for path in run.traversals)]
    if run.futures:
        note = (
            "Futures of one photo, sampled from the prior; below, where they differ (white: a deviation of 8 of 255)."
        )
        parts += [f'<p class="quiet">{note}</p>', *(page.picture(path) for path in run.futures)]
    return "".join(parts)


def _futures(run: Run) -> str:
    """The best of n futures against n, and how often the truth lies within their spread."""
    plots = []
    best = _numbers(run.scores.get("best_of"))
    if len(best) > 1:
        mean = run.score("summary", "psnr_db", "mean")
        curve = Curve(range(1, len(best) + 1), best, COLOURS[2])
        title = "PSNR of the best of n futures, dB (dashed: the prior's mean)"
        plots.append(page.plot(title, [curve], "n", levels=[mean, math.nan, math.nan]))
    calibration = run.scores.get("calibration")
    if isinstance(calibration, dict):
        levels, spread, predictive = (
            [100 * v for v in _numbers(calibration.get(key))] for key in ("levels", "spread", "predictive")
        )
        curves = [
            Curve(levels, spread, COLOURS[0]),
            Curve(levels, predictive, COLOURS[1]),
            Curve([0.0, 100.0], [0.0, 100.0], COLOURS[7], "--"),
        ]
        plots.append(page.plot("Truth within the futures' central interval, % of the values", curves, "level, %"))
    if not plots:
        return ""
    names = {"futures alone": COLOURS[0], "with the likelihood's variance": COLOURS[1], "calibrated": COLOURS[7]}
    return f'{page.legend(names)}<div class="grid">{"".join(plots)}</div>'


def _factors(run: Run) -> str:
    """Hidden factors, where the data set has recorded them: read off painted frames."""
    factors = run.scores.get("factors")
    if not isinstance(factors, list) or not factors:
        return ""
    rows, plots = [], []
    for one in factors:
        truth, prior, paths = one["truth"], one["prior"], one["paths"]
        rows.append(
            [text(one["name"])]
            + [shown(number(one[key])) for key in ("reader_r2", "posterior_r2")]
            + [f"{shown(number(part['deviation']), 4)}" for part in (truth, prior)]
            + [shown(number(one.get("apart")), 4)]
            + [f"{shown(number(part['time_constant']), 0)}" for part in (truth, prior)]
        )
        recorded, middle, low, high, single = (
            _numbers(paths.get(key)) for key in ("recorded", "middle", "low", "high", "one")
        )
        frames = range(2, len(recorded) + 2)
        curves = [
            Curve(frames, middle, COLOURS[1], low=low, high=high),
            Curve(frames, single, COLOURS[2]),
            Curve(frames, recorded, COLOURS[0]),
        ]
        plots.append(page.plot(str(one["name"]), curves, "frame", wide=True))
    heads = (
        "hidden factor",
        "R² on true frames",
        "R², z from posterior",
        "deviation: truth",
        "prior",
        "futures apart",
        "frames to 1/e: truth",
        "prior",
    )
    note = (
        "Factors are read off frames by a regression fitted to the training frames; no frame can be read better than "
        "the true ones. Deviation and time constant: of readings, about the training mean; poses move readings, too. "
        "Apart: the deviation between futures at an instant, which only z moves."
    )
    names = {"recorded": COLOURS[0], "futures: median, and 5 to 95 %": COLOURS[1], "one future": COLOURS[2]}
    return page.table(heads, rows) + f'<p class="quiet">{note}</p>' + page.legend(names) + "".join(plots)


def _numbers(values: Any) -> list[float]:
    return [number(value) for value in values] if isinstance(values, list) else []
