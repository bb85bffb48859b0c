"""How fast a data set of the course's full size is packed, in pictures a second, and how soon it opens again.

In: numbers. Out: a made-up data set in a temporary folder (23,410 + 630 pairs at 1024x512, 5 test sequences), packed,
timed and removed. A few hundred distinct pictures are hard-linked under all the names, so the disk is not measured.
Run: `python benchmarks/packing.py`, or smaller: `--pairs 200`. Next: `src/posecast/data/packed.py`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from posecast.cli.progress_bars import counting
from posecast.data.cache import load_recordings
from posecast.data.dancer.dance import dance
from posecast.data.folder_dataset import picture_folders, read_test_sequences
from posecast.data.pose_maps import draw_pose_maps
from posecast.data.prefetch import in_threads

STORED, PACKED = (512, 1024), (32, 64)
"""Height and width of the pictures on disk, and in the pack."""
TRAINING_PAIRS, VALIDATION_PAIRS, TEST_SEQUENCES = 23_410, 630, 5

Result = TypeVar("Result")


def main() -> None:
    asked = arguments()
    with tempfile.TemporaryDirectory(prefix="packing-", dir=asked.folder) as folder:
        root, distinct = Path(folder, "data"), Path(folder, "distinct")
        num_few = min(asked.pairs, VALIDATION_PAIRS)
        draw_pictures(distinct, min(asked.distinct, asked.pairs))
        link_split(root, "train", distinct, asked.pairs)
        link_split(root, "val", distinct, num_few)
        for sequence in range(TEST_SEQUENCES):
            link_split(root, "test", distinct, num_few, sequence=str(sequence))
        size_mb = np.mean([path.stat().st_size for path in distinct.iterdir()]) / 1e6
        print(f"{asked.pairs} + {num_few} pairs of {STORED[0]}x{STORED[1]}, {size_mb:.2f} MB a picture on average")

        for split, pairs in (("train", asked.pairs), ("val", num_few)):
            timed(f"pack {split}", 2 * pairs, lambda split=split: pack(root, split, asked.threads))
            timed(f"open {split} again", 2 * pairs, lambda split=split: pack(root, split, asked.threads))
        timed("read test", TEST_SEQUENCES * (num_few + 1), lambda: read_test_sequences(root, PACKED))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast a data set of the course's full size is packed.")
    parser.add_argument("--pairs", type=int, default=TRAINING_PAIRS, help="training pairs (default: %(default)s)")
    parser.add_argument("--distinct", type=int, default=200, help="distinct pairs drawn (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="threads that decode (default: one a core)")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made (default: the system's)")
    return parser.parse_args()


def draw_pictures(folder: Path, num_pairs: int) -> None:
    """The dancer at half the size, enlarged, with a camera's noise, so that a PNG is as large as a photograph's."""
    folder.mkdir()
    height, width = STORED
    dancer = dance(num_pairs, size=(height // 2, width // 2))
    keypoints = dancer.keypoints * np.array([2, 2, 1], np.float32)  # x, y and confidence

    def draw(number: int) -> None:
        frame = Image.fromarray(dancer.recording.frames[number]).resize((width, height), Image.Resampling.BICUBIC)
        noisy = np.asarray(frame) + np.random.default_rng(number).normal(0, 1, (height, width, 3))
        Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)).save(folder / f"{number}-img.png")
        pose_map = draw_pose_maps(keypoints[number : number + 1], STORED)[0]
        Image.fromarray(pose_map).save(folder / f"{number}-label.png")

    with counting("drawing") as progress:
        list(in_threads(draw, range(num_pairs), progress))


def link_split(root: Path, split: str, distinct: Path, num_pairs: int, *, sequence: str = "") -> None:
    """The distinct pairs, over and over, under consecutive names; a test sequence has one photo."""
    num_distinct = len(list(distinct.iterdir())) // 2
    for folder, kind in zip(picture_folders(root, split), ("img", "label"), strict=True):
        (folder / sequence).mkdir(parents=True)
        for number in range(1 if sequence and kind == "img" else num_pairs):
            os.link(distinct / f"{number % num_distinct}-{kind}.png", folder / sequence / f"frame{number:06d}.png")


def pack(root: Path, split: str, threads: int | None) -> None:
    with counting(f"packing {split}") as progress:
        load_recordings(root, split, PACKED, progress=progress, threads=threads)


def timed(what: str, num_pictures: int, work: Callable[[], Result]) -> None:
    """Do it once and print how long it took and how many cores were busy."""
    start, start_cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    print(
        f"{what}: {num_pictures} pictures in {seconds:.1f} s, {num_pictures / seconds:.0f} pictures/s, "
        f"{cpu_seconds / seconds:.1f} of {os.cpu_count()} cores busy",
        flush=True,
    )


if __name__ == "__main__":
    main()
