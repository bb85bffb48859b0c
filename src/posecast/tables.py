"""Scores and findings as a person reads them on a terminal; results, so on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from posecast.data.checking import CheckResult, limited

if TYPE_CHECKING:
    from posecast.evaluation import Scores

BASELINES = {
    "copy_first_frame": "copying the first frame",
    "mean_frame": "the mean training frame",
    "nearest_pose": "the frame of the nearest training pose map",
}


def print_scores(scores: Scores) -> None:
    """PSNR and SSIM of the rollouts, with the baselines they must be held against."""
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
    console.print(
        f"Reconstruction {scores.reconstruction_psnr_db:.2f} dB: uses the posterior, which sees the target; "
        "not a prediction.",
        highlight=False,
    )


def print_check(result: CheckResult) -> bool:
    """Print what a data set holds and what is wrong with it; True if it can be trained on."""
    for one in result.splits:
        sizes = ", ".join(f"{height}x{width}" for height, width in one.sizes)
        kind = "sequence(s)" if one.split == "test" else "recording(s)"
        print(f"{one.split}: {one.num_recordings} {kind}, {one.num_frames} frames, {sizes}")
    for title, findings in (("Errors", result.errors), ("Remarks", result.remarks)):
        if findings:
            print(f"{title}:")
            print("\n".join(f"  {line}" for line in limited(findings)))
    if not result.errors:
        print("No errors: it can be trained on.")
    return not result.errors
