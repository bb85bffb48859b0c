"""Scores and findings as a person reads them on a terminal; results, so on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from posecast.data.check import CheckResult, limited
from posecast.errors import Finding, printable

if TYPE_CHECKING:
    from posecast.cli.doctor import Diagnosis
    from posecast.course.kaggle_score import Grade
    from posecast.evaluation.factor_probe import FactorEvidence
    from posecast.evaluation.scores import Scores
    from posecast.training.check_run import Inspection
    from posecast.video.extract import Extracted

BASELINES = {
    "copy_first_frame": "copying the first frame",
    "mean_frame": "the mean training frame",
    "nearest_pose": "the frame of the nearest training pose map",
}


def print_scores(scores: Scores) -> None:
    """PSNR and SSIM of the rollouts, with the baselines they must be held against; and what z does."""
    from posecast.evaluation.calibration import LEVELS

    frames = sum(len(one.mean.psnr_db) for one in scores.sequences)
    table = Table(title=f"{scores.split}: {frames} frames predicted from one photo a sequence")
    table.add_column("prediction")
    table.add_column("PSNR, dB", justify="right")
    table.add_column("SSIM", justify="right")
    for kind, label in (
        ("mean", "prior's mean"),
        ("sample", f"a sample, average of {scores.futures}"),
        ("best", f"best of {scores.futures} samples (chosen by the truth)"),
    ):
        table.add_row(label, f"{scores.summary(kind, 'psnr_db'):.2f}", f"{scores.summary(kind, 'ssim'):.4f}")
    table.add_section()
    for name, value in scores.baselines.items():
        table.add_row(BASELINES[name], "training footage gone" if value is None else f"{value:.2f}", "")
    console = Console(width=None if Console().is_terminal else 100)
    console.print(table)
    if scores.drift is not None:
        console.print(
            f"Drift: last 100 frames {scores.drift.last_psnr_db:.2f} dB; restarted from the truth 100 frames "
            f"earlier {scores.drift.restarted_psnr_db:.2f} dB.",
            highlight=False,
        )
    seen = scores.reconstruction
    console.print(
        f"Reconstruction {seen.psnr_db:.2f} dB: uses the posterior, which sees the target; not a prediction. "
        f"Its latent: {seen.rate_nats:.2f} nats per frame, {seen.active_units} of {seen.num_units} units active.",
        highlight=False,
    )
    half, most = (scores.spread[LEVELS.index(level)] for level in (0.5, 0.9))
    console.print(
        f"The truth lies within the middle 50 % of the futures for {100 * half:.0f} % of the values, within the middle "
        f"90 % for {100 * most:.0f} %.",
        highlight=False,
    )
    if scores.factors:
        print_factors(scores.factors, console)


def print_factors(factors: Sequence[FactorEvidence], console: Console) -> None:
    """Print the hidden factors, which poses do not tell, as read off true and painted frames."""
    table = Table(title="hidden factors, read off frames")
    for column in ("factor", "R², true frames", "R², z from posterior", "deviation: truth", "futures"):
        table.add_column(column, justify="left" if column == "factor" else "right")
    table.add_column("apart", justify="right")
    table.add_column("frames to 1/e: truth", justify="right")
    table.add_column("futures", justify="right")
    for one in factors:
        table.add_row(
            one.name,
            f"{one.reader_r2:.2f}",
            f"{one.posterior_r2:.2f}",
            f"{one.truth.deviation:.4f}",
            f"{one.prior.deviation:.4f}",
            f"{one.apart:.4f}",
            f"{one.truth.time_constant:.0f}",
            f"{one.prior.time_constant:.0f}",
        )
    console.print(table)


def print_grade(grade: Grade) -> None:
    """A submission's PSNR by sequence and by part of the board, beside copying the first frame."""
    from posecast.course.kaggle_score import LAST_FRAME, LIMIT_DB

    table = Table(title="the course's metric: mean PSNR of the frames that count")
    for column in ("", "frames that count", "PSNR, dB", "copying the first frame, dB"):
        table.add_column(column, justify="right" if column else "left")
    for one in grade.sequences:
        copied = f"{one.copied_psnr_db.mean():.2f}"
        table.add_row(f"sequence {one.name}", str(len(one.psnr_db)), f"{one.psnr_db.mean():.2f}", copied)
    table.add_section()
    frames = sum(len(one.psnr_db) for one in grade.sequences)
    table.add_row("all", str(frames), f"{grade.psnr_db:.2f}", f"{grade.copied_psnr_db:.2f}")
    for part, psnr_db in grade.parts.items():
        table.add_row(part.lower() + " part", str(len(psnr_db)), f"{psnr_db.mean():.2f}" if len(psnr_db) else "-", "")
    console = Console(width=None if Console().is_terminal else 100)
    console.print(table)
    console.print(
        f"Frame 0 is given; of the others, the first {LAST_FRAME} count. The truth itself reads {LIMIT_DB:.2f} dB, "
        "the limit of 8 bits.",
        highlight=False,
    )


def print_comparison(content: dict[str, Any]) -> None:
    """The settings of an experiment side by side, its findings, and the report's claims."""
    table = Table(title=f"{content['experiment']}: mean ± half of the 95 % interval over seeds")
    columns = {"psnr_db": "PSNR, dB", "ssim": "SSIM", "drift_db": "drift, dB", "rate_nats": "rate, nats"}
    table.add_column("setting")
    for title in columns.values():
        table.add_column(title, justify="right")
    for name, values in content["settings"].items():
        marked = f"{name} (best)" if content["best"] == name else name
        table.add_row(marked, *(values[key]["text"] for key in columns))
    console = Console(width=None if Console().is_terminal else 100)
    console.print(table)
    lines = [
        f"Failed: {name}, seed {seed}: {why}"
        for name, values in content["settings"].items()
        for seed, why in values["failures"].items()
    ]
    lines += [f"- {said}" for said in content["findings"]]
    lines += [f"Claim: {one['sentence']} {one['verdict'].upper()}. {one['evidence']}" for one in content["claims"]]
    for line in lines:
        console.print(line, highlight=False, markup=False)


def print_check(result: CheckResult) -> bool:
    """Print what a data set holds and what is wrong with it; True if it can be trained on."""
    for one in result.splits:
        sizes = ", ".join(f"{height}x{width}" for height, width in one.sizes)
        kind = "sequence(s)" if one.split == "test" else "recording(s)"
        print(f"{one.split}: {one.num_recordings} {kind}, {one.num_frames} frames, {sizes}")
    print_findings("Errors", result.errors)
    print_findings("Remarks", result.remarks)
    if not result.errors:
        print("No errors: it can be trained on.")
    return not result.errors


def print_findings(title: str, findings: Sequence[Finding]) -> None:
    """Findings under a title; nothing where there are none."""
    if findings:
        print(f"{title}:")
        print("\n".join(f"  {line}" for line in limited(findings)))


def print_extracted(out: object, found: Extracted) -> None:
    """Print what was extracted, video by video, and what is worth knowing about it."""
    asked, videos = found.facts["asked"], found.facts["videos"]
    height, width = asked["size"]
    print(
        f"{out}: {found.num_train} frames to train on, {found.num_val} to validate on, {height}x{width}, "
        f"{asked['fps']:.4g} a second."
    )
    for one in videos:
        recordings = f"{one['recordings']} recording(s)"
        print(
            f"{printable(one['file'])}: the person was found in {one['found']} of {one['frames']} frames "
            f"({one['seconds']:.1f} s); {one['used']} used, in {recordings}."
        )
    print_findings("Worth knowing", found.remarks)
    print(f"Next: posecast train --data {out} --out RUN --size {height}x{width}")


def print_inspection(found: Inspection) -> None:
    """Print what a run folder holds and what is wrong with it."""
    print("\n".join(found.lines))
    print_findings("Errors", found.errors)
    print_findings("Remarks", found.remarks)
    if not found.errors:
        print("No errors.")


def print_diagnosis(found: Diagnosis) -> None:
    """Print a machine's sections, then advice: plain text, so that it can be pasted anywhere."""
    for title, lines in found.sections.items():
        print(title)
        width = max(len(name) for name, _ in lines)
        for name, value in lines:
            print(f"  {name:<{width}}  {value}")
    print("advice")
    for sentence in found.advice or ["Nothing to mend."]:
        print(f"  {sentence}")
