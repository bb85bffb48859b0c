"""Videos of the person of one photo who follows a sequence of poses.

In: a run folder and a `GenerateRequest`. Out: video files, or folders of PNGs.
Next: `driving.py` reads what is followed, `model/rollout.py` predicts the frames, `writer.py` writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np

from posecast.config.schema import parse_size
from posecast.errors import InputError
from posecast.export.engine import choose_engine
from posecast.files import claim_file, is_empty, is_litter
from posecast.model.checkpoint import load_run, read_config
from posecast.model.onnx_rollout import Engine
from posecast.model.rollout import predict
from posecast.video.audio import add_sound, check_sound
from posecast.video.driving import read_drive
from posecast.video.generate_request import GenerateRequest
from posecast.video.retargeting import BodyProportions
from posecast.video.tracking import Progress
from posecast.video.writer import open_writer

DEFAULT_FPS = 25.0


def generate(
    run: Path,
    request: GenerateRequest,
    *,
    device: str = "cpu",
    engine: Engine = "torch",
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[Path]:
    """Roll out the requested futures and write a video, or a folder of PNGs, for each.

    >>> request = GenerateRequest(first_frame=Path("ME.png"), poses=Path("OTHER.mp4"), out=Path("ME.mp4"))
    >>> generate(Path("RUN"), request)  # doctest: +SKIP

    Args:
        run: Folder of the run whose weights predict the frames.
        request: What to follow, and where and how to write the videos.
        device: Device to compute on: "cpu", "cuda" or "mps".
        engine: What computes rollouts on a CPU; see `export/engine.py`.
        tell: Called with one sentence before long preparations.
        progress: Called with the kind of work, the number of frames done and their total.

    Returns:
        Path of each video; several futures are numbered (`future_paths`).

    Raises:
        InputError: If a file cannot be read, an output path is in use, or options contradict each other.
    """
    if request.latent == "mean" and request.futures > 1:
        raise InputError("With --latent mean all futures are equal; request one future, or use --latent sample.")
    if request.audio:
        check_audio(request.out, request.poses)
    predictor = load_run(run, device)
    size = parse_size(predictor.config.size)
    drive = read_drive(request, size, lambda: trained_body(run), progress=progress)
    targets = future_paths(request.out, request.futures)
    check_free(targets, request.out, drive.names, force=request.force)
    choose_engine(predictor, engine, tell)
    frames = predict(
        predictor,
        drive.first_frame,
        drive.poses,
        latent=request.latent,
        seed=request.seed,
        futures=request.futures,
    )
    shown = islice(frames, drive.num_unseen, None)
    fps = request.fps or drive.fps or DEFAULT_FPS
    write_futures(shown, targets, drive.names, fps=fps, scale=request.scale, progress=progress)
    if request.audio:
        for target in targets:
            add_sound(target, request.poses, start_s=drive.starts_s)
    return targets


def check_audio(out: Path, poses: Path) -> None:
    """Raise InputError if the poses have no sound or the output cannot hold any."""
    if out.suffix.lower() != ".mp4":
        raise InputError(f"{out} cannot hold sound; with --audio expected a name ending in .mp4.")
    if poses.is_dir() or poses.suffix == ".npz":
        raise InputError(f"{poses} has no sound; with --audio expected --poses to be a video.")
    if poses.is_file():
        check_sound(poses)


def trained_body(run: Path) -> BodyProportions:
    """Return the proportions of the person a run was trained on, which were measured when training started.

    Raises:
        InputError: If the run has no such measurement.
    """
    _, facts = read_config(run)
    if not isinstance(facts.get("body"), dict):
        raise InputError(
            f"{run} does not record the proportions of its person (it was trained by an older posecast, or imported), "
            "so the motion of other people cannot be fitted to it; train it again, or use --no-fit and --first-pose."
        )
    return BodyProportions.from_json(facts["body"])


def future_paths(out: Path, futures: int) -> list[Path]:
    """Return OUT for one future, and OUT-00.gif, ... or OUT/future00, ... for several."""
    if futures == 1:
        return [out]
    if out.suffix:
        return [out.with_name(f"{out.stem}-{future:02d}{out.suffix}") for future in range(futures)]
    return [out / f"future{future:02d}" for future in range(futures)]


def check_free(targets: Sequence[Path], out: Path, names: Sequence[str], *, force: bool) -> None:
    """Raise InputError if a target is in use; with `force` prepare it for replacement.

    A folder is emptied of the frames that will be written again, and must hold nothing else.

    Args:
        targets: Files or folders to write.
        out: Output path as the user gave it, for the message.
        names: Names of the frames, without ending.
        force: Whether an earlier output may be replaced.
    """
    for target in targets:
        if target.suffix:
            claim_file(target, force=force)
            continue
        if target.exists() and not target.is_dir():
            raise InputError(f"{target} is a file; expected a new folder, or a name in .gif, .mp4 or .webp.")
        existing = list(target.iterdir()) if target.exists() else []
        if not is_empty(target) and not force:
            raise InputError(f"{target} already holds something; name a new folder, or replace it with --force.")
        replaceable = {f"{name}.png" for name in names}
        foreign = sorted(path.name for path in existing if path.name not in replaceable and not is_litter(path.name))
        if foreign:
            raise InputError(
                f"{target} holds {foreign[0]!r}, which this command would not write; empty it yourself, "
                f"or name a new folder instead of {out}."
            )
        for path in existing:
            path.unlink()


def write_futures(
    frames: Iterator[np.ndarray],
    targets: Sequence[Path],
    names: Sequence[str],
    *,
    fps: float,
    scale: int,
    progress: Progress | None,
) -> None:
    """Write a stream of frames into a video or folder for each future, holding one instant in memory.

    Args:
        frames: uint8 `[N, H, W, 3]` for each instant, one frame per future.
        targets: N files or folders.
        names: Name of each instant's PNG, without ending.
        fps: Frames per second of a video.
        scale: Side of the square that each pixel of a video becomes.
        progress: Called after each instant.
    """
    with ExitStack() as stack:
        writers = [
            stack.enter_context(open_writer(target, fps=fps, scale=scale if target.suffix else 1, names=names))
            for target in targets
        ]
        for done, futures in enumerate(frames, start=1):
            for writer, frame in zip(writers, futures, strict=True):
                writer.write(frame)
            if progress:
                progress("predicting", done, len(names))
