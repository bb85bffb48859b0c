"""Results of the commands on stdout: tables, lists of findings and sentences.

In: results of `evaluation`, `course`, `reporting`, `data`, `video` and `training`. Next: `progress_bars.py`, which
prints what is shown on stderr meanwhile.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from posecast.cli.options import print_result
from posecast.data.check import CheckResult, limited
from posecast.errors import Finding, counted, printable

if TYPE_CHECKING:
    from posecast.cli.doctor import Diagnosis
    from posecast.course.kaggle_score import Grade
    from posecast.evaluation.factor_evidence import FactorEvidence
    from posecast.evaluation.scores import Scores
    from posecast.training.check_run import Inspection
    from posecast.video.extract import Extracted

BASELINES = {
    "copy_first_frame": "first frame, copied",
    "mean_frame": "mean training frame",
    "nearest_pose": "frame of the nearest pose",
    "mean_of_8_nearest_poses": "mean frame of the 8 nearest poses",
}


def print_scores(scores: Scores) -> None:
    """Print PSNR and SSIM of the rollouts beside the baselines, and what z carries."""
    console = _console()
    console.print(_score_table(scores))
    if scores.baselines_note:
        console.print(f"No baselines from training footage: {scores.baselines_note}.", markup=False)
    if scores.drift is not None:
        console.print(
            f"Drift: last 100 frames {scores.drift.last_psnr_db:.2f} dB; restarted from the truth 100 frames "
            f"earlier {scores.drift.restarted_psnr_db:.2f} dB."
        )
    reconstruction = scores.reconstruction
    console.print(
        f"Reconstruction {reconstruction.psnr_db:.2f} dB: uses the posterior, which sees the target; not a "
        f"prediction. Its latent: {reconstruction.rate_nats:.2f} nats per frame, {reconstruction.active_units} of "
        f"{reconstruction.num_units} units active."
    )
    _print_explained(scores, console)
    _print_calibration(scores, console)
    if scores.factors:
        print_factors(scores.factors, console)


def _score_table(scores: Scores) -> Table:
    frames = sum(len(sequence.mean.psnr_db) for sequence in scores.sequences)
    table = Table(title=f"{scores.split}: {counted(frames, 'frame')}, each sequence predicted from one photo")
    samples = counted(scores.futures, "sample")
    table.add_column("prediction")
    table.add_column("PSNR, dB", justify="right")
    for heading in ("SSIM", "sharpness", "flicker"):
        table.add_column(heading, justify="right")
    for kind, label in (
        ("mean", "prior mean"),
        ("sample", f"average of {samples}"),
        ("best", f"best of {samples}, by the truth"),
    ):
        metrics = f"{scores.summary(kind, 'psnr_db'):.2f}", f"{scores.summary(kind, 'ssim'):.4f}"
        table.add_row(label, *metrics, *(decimals(scores.detail(kind, detail)) for detail in ("sharpness", "flicker")))
    table.add_section()
    for name, value in scores.baselines.items():
        table.add_row(BASELINES[name], "-" if value is None else f"{value:.2f}", "")
    return table


def _print_explained(scores: Scores, console: Console) -> None:
    explained = scores.explained
    if math.isfinite(explained.explained):
        console.print(
            f"Of the squared error, z from the posterior explains {100 * explained.explained:.1f} %, and z from the "
            f"prior supplies {100 * explained.supplied:.1f} %. Generative ratio {decimals(explained.ratio)}; 1 for a "
            "right model."
        )


def decimals(value: float) -> str:
    """Return a number with two decimals, or a dash where it is not finite."""
    return f"{value:.2f}" if math.isfinite(value) else "-"


def _print_calibration(scores: Scores, console: Console) -> None:
    half, most = (scores.spread.at(level) for level in (0.5, 0.9))
    if half is None or most is None:
        return
    shares = (
        f"{100 * share:.0f} %" + (f" ± {100 * error:.0f}" if error is not None else "") for share, error in (half, most)
    )
    console.print(
        f"The truth lies within the middle 50 % of the futures for {next(shares)} of the values, within the middle "
        f"90 % for {next(shares)}."
    )


def print_factors(factors: Sequence[FactorEvidence], console: Console) -> None:
    """Print the hidden factors, which poses do not determine, as read off true and predicted frames."""
    table = Table(title="hidden factors, read off frames")
    table.add_column("factor")
    for column in (
        "R², true frames",
        "R², z from posterior",
        "deviation: truth",
        "futures",
        "apart",
        "frames to 1/e: truth",
        "futures",
    ):
        table.add_column(column, justify="right")
    for factor in factors:
        table.add_row(
            factor.name,
            f"{factor.reader_r2:.2f}",
            f"{factor.posterior_r2:.2f}",
            f"{factor.truth.deviation:.4f}",
            f"{factor.prior.deviation:.4f}",
            f"{factor.apart:.4f}",
            f"{factor.truth.time_constant:.0f}",
            f"{factor.prior.time_constant:.0f}",
        )
    console.print(table)


def print_grade(grade: Grade) -> None:
    """Print a submission's PSNR by sequence and by part of the board, beside copying the first frame."""
    from posecast.course.kaggle_score import LAST_FRAME, LIMIT_DB

    table = Table(title="the course's metric: mean PSNR of the frames that count")
    for column in ("", "frames that count", "PSNR, dB", "copying the first frame, dB"):
        table.add_column(column, justify="right" if column else "left")
    for sequence in grade.sequences:
        copied = f"{sequence.copied_psnr_db.mean():.2f}"
        mean = f"{sequence.psnr_db.mean():.2f}"
        table.add_row(f"sequence {sequence.name}", str(len(sequence.psnr_db)), mean, copied)
    table.add_section()
    frames = sum(len(sequence.psnr_db) for sequence in grade.sequences)
    table.add_row("all", str(frames), f"{grade.psnr_db:.2f}", f"{grade.copied_psnr_db:.2f}")
    for part, psnr_db in grade.parts.items():
        table.add_row(part.lower() + " part", str(len(psnr_db)), f"{psnr_db.mean():.2f}" if len(psnr_db) else "-", "")
    console = _console()
    console.print(table)
    console.print(
        f"Frame 0 is given; of the others, the first {LAST_FRAME} count. The truth itself scores {LIMIT_DB:.2f} dB, "
        "the limit of 8 bits."
    )


def print_comparison(content: dict[str, Any]) -> None:
    """Print the settings of an experiment beside each other, its findings, and verdicts on the report's claims.

    Args:
        content: Content of comparison.json.
    """
    table = Table(title=f"{content['experiment']}: mean ± half of the 95 % interval over seeds")
    columns = {"psnr_db": "PSNR, dB", "ssim": "SSIM", "drift_db": "drift, dB", "rate_nats": "rate, nats"}
    table.add_column("setting")
    for title in columns.values():
        table.add_column(title, justify="right")
    for name, values in content["settings"].items():
        label = f"{name} (best)" if content["best"] == name else name
        table.add_row(label, *(values[key]["text"] for key in columns))
    console = _console()
    console.print(table)
    lines = [
        f"Failed: {name}, seed {seed}: {reason}"
        for name, values in content["settings"].items()
        for seed, reason in values["failures"].items()
    ]
    lines += [f"- {finding}" for finding in content["findings"]]
    lines += [
        f"Claim: {claim['sentence']} {claim['verdict'].upper()}. {claim['evidence']}" for claim in content["claims"]
    ]
    for line in lines:
        console.print(line)


class _PlainConsole(Console):
    """Console that shows text from files as it is: without markup, and without what cannot be printed."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str("\n".join(map(printable, text.split("\n"))), **options)


def _console() -> Console:
    """Return a console as wide as the terminal; in a file, tables are up to 100 columns wide and sentences unbroken."""
    width = None if sys.stdout.isatty() else 100
    return _PlainConsole(width=width, soft_wrap=width is not None, highlight=False, markup=False, emoji=False)


def print_check(result: CheckResult) -> None:
    """Print what a data set holds and what is wrong with it."""
    for split in result.splits:
        sizes = ", ".join(f"{height}x{width}" for height, width in split.sizes)
        recordings = counted(split.num_recordings, "sequence" if split.split == "test" else "recording")
        print_result(f"{split.split}: {recordings}, {counted(split.num_frames, 'frame')}, {sizes}")
    print_findings("Errors", result.errors)
    print_findings("Remarks", result.remarks)
    if not result.errors:
        print("No errors: it can be trained on.")


def print_findings(title: str, findings: Sequence[Finding]) -> None:
    """Print findings under a title; print nothing if there are none."""
    if findings:
        print(f"{title}:")
        print("\n".join(f"  {line}" for line in limited(findings)))


def print_extracted(out: object, extracted: Extracted) -> None:
    """Print what was extracted from each video, and remarks on it."""
    asked, videos = extracted.facts["asked"], extracted.facts["videos"]
    height, width = asked["size"]
    print_result(
        f"{out}: {extracted.num_train} frames to train on, {extracted.num_val} to validate on, {height}x{width}, "
        f"{asked['fps']:.4g} per second."
    )
    for video in videos:
        print_result(
            f"{video['file']}: the person was found in {video['found']} of {video['frames']} frames "
            f"({video['seconds']:.1f} s); {video['used']} used, in {counted(video['recordings'], 'recording')}."
        )
    print_findings("Remarks", extracted.remarks)
    print_result(f"Next: posecast train --data {out} --out RUN --size {height}x{width}")


def print_inspection(inspection: Inspection) -> None:
    """Print what a run folder holds and what is wrong with it."""
    for line in inspection.lines:
        print_result(line)
    print_findings("Errors", inspection.errors)
    print_findings("Remarks", inspection.remarks)
    if not inspection.errors:
        print("No errors.")


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Print a machine's sections and advice as plain text, which can be pasted into a bug report."""
    for title, lines in diagnosis.sections.items():
        print(title)
        width = max(len(name) for name, _ in lines)
        for name, value in lines:
            print_result(f"  {name:<{width}}  {value}")
    print("advice")
    for sentence in diagnosis.advice or ["No problems found."]:
        print_result(f"  {sentence}")
