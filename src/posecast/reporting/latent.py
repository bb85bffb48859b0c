"""Values of a report's section about the latent: its rate, the prior's calibration, the spread of futures.

In: a run's scores and images. Out: what `templates/latent.html.j2` shows. Next: `run_report.py`, the page.
"""

from __future__ import annotations

import math
from typing import Any

from posecast.evaluation.results import Run, number
from posecast.reporting.html import InlineFigure, embedded_image, plot
from posecast.reporting.plots import COLOURS, Curve

FACTOR_COLOURS = {"recorded": COLOURS[0], "futures: median, and 5 to 95 %": COLOURS[1], "one future": COLOURS[2]}
FUTURE_COLOURS = {
    "futures alone": COLOURS[0],
    "with the likelihood's variance": COLOURS[1],
    "calibrated": COLOURS[7],
}


def latent_values(run: Run) -> dict[str, Any] | None:
    """Return the values of the section, or None where the run's scores have no reconstruction."""
    reconstruction_db = run.score("reconstruction", "psnr_db")
    if not math.isfinite(reconstruction_db):
        return None
    bounds = {key: run.score("bounds", key) for key in ("plain", "weighted", "particles")}
    entries = run.scores.get("factors")
    factors = entries if isinstance(entries, list) else []
    return {
        "reconstruction_db": reconstruction_db,
        **{key: run.score("latent", key) for key in ("rate_nats", "active_units", "units")},
        "bounds": bounds if math.isfinite(bounds["plain"]) else None,
        "factors": [_factor_row(factor) for factor in factors],
        "factor_figures": [_factor_figure(factor) for factor in factors],
        "factor_colours": FACTOR_COLOURS,
        "future_figures": _future_figures(run),
        "future_colours": FUTURE_COLOURS,
        "traversals": [embedded_image(path) for path in run.traversals],
        "futures": [embedded_image(path) for path in run.futures],
    }


def _factor_row(factor: dict[str, Any]) -> dict[str, Any]:
    truth, prior = factor["truth"], factor["prior"]
    values = {
        "reader_r2": factor["reader_r2"],
        "posterior_r2": factor["posterior_r2"],
        "truth_deviation": truth["deviation"],
        "prior_deviation": prior["deviation"],
        "apart": factor.get("apart"),
        "truth_frames": truth["time_constant"],
        "prior_frames": prior["time_constant"],
    }
    return {"name": factor["name"], **{key: number(value) for key, value in values.items()}}


def _factor_figure(factor: dict[str, Any]) -> InlineFigure:
    """Draw a factor along the frames: recorded, and as estimated from the frames of futures."""
    recorded, middle, low, high, single = (
        _numbers(factor["paths"].get(key)) for key in ("recorded", "middle", "low", "high", "one")
    )
    frames = range(2, len(recorded) + 2)
    truth, median, future = FACTOR_COLOURS.values()
    curves = [
        Curve(frames, middle, median, low=low, high=high),
        Curve(frames, single, future),
        Curve(frames, recorded, truth),
    ]
    return plot(str(factor["name"]), curves, "frame", wide=True)


def _future_figures(run: Run) -> list[InlineFigure]:
    """Draw the PSNR of the best of n futures, and how often the truth lies within the futures' interval."""
    figures = []
    best_db = _numbers(run.scores.get("best_of"))
    if len(best_db) > 1:
        mean_db = run.score("summary", "psnr_db", "mean")
        curve = Curve(range(1, len(best_db) + 1), best_db, COLOURS[2])
        title = "PSNR of the best of n futures, dB (dashed: the prior mean)"
        figures.append(plot(title, [curve], "n", levels=[mean_db, math.nan, math.nan]))
    calibration = run.scores.get("calibration")
    if isinstance(calibration, dict):
        levels, spread, predictive = (
            [100 * value for value in _numbers(calibration.get(key))] for key in ("levels", "spread", "predictive")
        )
        futures, with_variance, calibrated = FUTURE_COLOURS.values()
        rows = ((spread, futures), (predictive, with_variance))
        curves = [Curve(levels, shares, colour) for shares, colour in rows if len(shares) == len(levels)]
        curves.append(Curve([0.0, 100.0], [0.0, 100.0], calibrated, "--"))
        figures.append(plot("Truth within the futures' central interval, % of the values", curves, "level, %"))
    return figures


def _numbers(values: Any) -> list[float]:
    return [number(value) for value in values] if isinstance(values, list) else []
