"""A trained run, one photo and poses to follow to a video, or several.

In: files. Out: files. Next: `driving.py` reads the poses, `rollout.py` makes the frames, `images.py` writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np

from posecast.config.schema import parse_size
from posecast.errors import InputError
from posecast.files import claim_file
from posecast.model.checkpoint import load_run, read_config
from posecast.model.rollout import Latent, predict
from posecast.video.audio import add_sound
from posecast.video.driving import read_drive
from posecast.video.retargeting import BodyProportions
from posecast.video.tracking import Progress
from posecast.video.writer import open_writer


def generate(
    run: Path,
    *,
    first_frame: Path,
    poses: Path,
    out: Path,
    seed: int = 0,
    futures: int = 1,
    latent: Latent = "sample",
    first_pose: Path | None = None,
    person: int = 1,
    fitted: bool = True,
    audio: bool = False,
    fps: float | None = None,
    scale: int = 1,
    force: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[Path]:
    """Write the rollout of each future; returns what was written. Raises InputError.

    What `poses` may be, and what `fitted` means, says `driving.read_drive`. Without `fps` it is that of what is
    followed, else 25.
    """
    if latent == "mean" and futures > 1:
        raise InputError("With --latent mean all futures are the same; ask for one, or for --latent sample.")
    if audio:
        check_audio(out, poses)
    predictor = load_run(run, device)
    size = parse_size(predictor.config.size)
    drive = read_drive(
        first_frame,
        poses,
        size,
        lambda: trained_body(run),
        fitted=fitted,
        first_pose=first_pose,
        person=person,
        progress=progress,
    )
    targets = future_paths(out, futures)
    check_free(targets, out, drive.names, force=force)
    frames = predict(predictor, drive.first_frame, drive.poses, latent=latent, seed=seed, futures=futures)
    frames = islice(frames, drive.num_unseen, None)
    rate = fps or drive.fps or 25.0
    write_futures(frames, targets, drive.names, fps=rate, scale=scale, progress=progress)
    for target in targets if audio else ():
        add_sound(target, poses, start_s=drive.starts_s)
    return targets


def check_audio(out: Path, poses: Path) -> None:
    """Raise InputError unless there can be sound, and somewhere to put it."""
    if out.suffix.lower() != ".mp4":
        raise InputError(f"{out} cannot hold sound; with --audio expected the name of an .mp4.")
    if poses.is_dir() or poses.suffix == ".npz":
        raise InputError(f"{poses} has no sound; with --audio expected --poses to be a video.")


def trained_body(run: Path) -> BodyProportions:
    """The body of the person a run was trained on, as it was measured then. Raises InputError where it was not."""
    _, facts = read_config(run)
    if not isinstance(facts.get("body"), dict):
        raise InputError(
            f"{run} does not say how large its person is (it was trained by an older posecast, or imported), so other "
            "people's moves cannot be fitted to it; train it again, or use --no-fit and --first-pose."
        )
    return BodyProportions.from_json(facts["body"])


def future_paths(out: Path, futures: int) -> list[Path]:
    """OUT itself for one future; OUT-00.gif, ... or OUT/future00, ... for several."""
    if futures == 1:
        return [out]
    if out.suffix:
        return [out.with_name(f"{out.stem}-{number:02d}{out.suffix}") for number in range(futures)]
    return [out / f"future{number:02d}" for number in range(futures)]


def check_free(targets: Sequence[Path], out: Path, names: Sequence[str], *, force: bool) -> None:
    """Raise InputError before any work is done if something is in the way.

    With `force` a file is replaced; a folder is emptied of the frames that are to be written again, and must
    hold nothing else.
    """
    for target in targets:
        if target.suffix:
            claim_file(target, force=force)
            continue
        if target.exists() and not target.is_dir():
            raise InputError(f"{target} is a file; expected a new folder, or a name in .gif, .mp4 or .webp.")
        held = list(target.iterdir()) if target.exists() else []
        if held and not force:
            raise InputError(f"{target} already holds something; name a new folder, or replace it with --force.")
        ours = {f"{name}.png" for name in names}
        foreign = sorted(path.name for path in held if path.name not in ours)
        if foreign:
            raise InputError(
                f"{target} holds {foreign[0]!r}, which this command would not write; empty it yourself, "
                f"or name a new folder instead of {out}."
            )
        for path in held:
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
    """Stream `[N, H, W, 3]` after `[N, H, W, 3]` into N videos or folders side by side; none is ever held."""
    with ExitStack() as stack:
        writers = [
            stack.enter_context(open_writer(target, fps=fps, scale=scale if target.suffix else 1, names=names))
            for target in targets
        ]
        for done, futures in enumerate(frames, start=1):
            for writer, frame in zip(writers, futures, strict=True):
                writer.write(frame)
            if progress:
                progress("painting", done, len(names))
