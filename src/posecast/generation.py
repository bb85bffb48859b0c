"""A trained run, one photo and a folder of pose maps to a video, or several.

In: files. Out: files. Next: `rollout.py` makes the frames, `media.py` writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from posecast.checkpoint import load_run
from posecast.config import parse_size
from posecast.data.course import read_pose_folder
from posecast.errors import InputError
from posecast.files import claim_file
from posecast.media import open_writer, read_picture
from posecast.rollout import Latent, predict


def generate(
    run: Path,
    *,
    first_frame: Path,
    poses: Path,
    out: Path,
    seed: int = 0,
    futures: int = 1,
    latent: Latent = "sample",
    fps: float = 25.0,
    scale: int = 1,
    force: bool = False,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write the rollout of each future; returns what was written. Raises InputError."""
    if latent == "mean" and futures > 1:
        raise InputError("With --latent mean all futures are the same; ask for one, or for --latent sample.")
    predictor = load_run(run, device)
    size = parse_size(predictor.config.size)
    maps, names = read_pose_folder(poses, size)
    targets = future_paths(out, futures)
    check_free(targets, out, names, force=force)
    frames = predict(predictor, read_picture(first_frame, size), maps, latent=latent, seed=seed, futures=futures)
    write_futures(frames, targets, names, fps=fps, scale=scale, progress=progress)
    return targets


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
    progress: Callable[[int, int], None] | None,
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
                progress(done, len(names))
