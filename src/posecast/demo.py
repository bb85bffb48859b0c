"""The whole story on the embedded dancer: footage, training, scores, a report.

In: an output folder and a few numbers. Out: OUT/data, OUT/run, OUT/report.html. Each step is what a command does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import posecast
from posecast.config import Config, parse_size
from posecast.data.packed import load_footage
from posecast.data.synthetic import Choreography, write_synthetic
from posecast.evaluation import Scores
from posecast.files import claim_folder, write_json
from posecast.report import write_report
from posecast.scoring import score_run
from posecast.standing import Watcher
from posecast.training import train

MARKER = "demo.json"
WRITTEN = (MARKER, "data", "run", "report.html")


def demo(
    out: Path,
    config: Config,
    choreography: Choreography,
    *,
    say: Callable[[str], None],
    watcher: Watcher,
) -> Scores:
    """Make everything into `out`, replacing an earlier demo there; returns the scores. Raises InputError."""
    claim_folder(out, marker=MARKER, ours=WRITTEN, force=True)
    write_json(out / MARKER, {"posecast": posecast.__version__})
    c = choreography
    say(f"Drawing {c.sequences} recordings of {c.frames} frames, and one to be judged by ({out}/data)")
    ceiling = write_synthetic(out / "data", choreography)
    say(f"What the poses do not tell limits a prediction of the mean to {ceiling:.1f} dB")
    say(f"Training ({out}/run)")
    train(config, load_footage(out / "data", parse_size(config.size)), out / "run", watcher=watcher)
    say(f"Rolling out {c.frames - 1} frames from one photo: the mean, then 10 futures")
    scores = score_run(out / "run", out / "data", seed=config.seed)
    write_report([out / "run"], out / "report.html", force=True)
    return scores
