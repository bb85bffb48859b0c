"""Speed of packing a data set of the course's full size, in images per second, and of opening it again.

In: numbers. Out: timings of a synthetic data set in a temporary folder (23,410 + 630 pairs of 1024x512, 5 test
sequences). A few hundred distinct images are hard-linked under all the names, so that reading the disk is not measured.
Run: `python benchmarks/packing.py`, or smaller: `--pairs 200`. Next: `data/cache.py`.
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
from posecast.data.folder_dataset import image_folders, read_test_sequences
from posecast.data.pose_maps import draw_pose_maps
from posecast.data.prefetch import in_threads

STORED, PACKED = (512, 1024), (32, 64)
"""Height and width of the images on disk, and in the cache."""
TRAINING_PAIRS, VALIDATION_PAIRS, TEST_SEQUENCES = 23_410, 630, 5

Result = TypeVar("Result")


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="packing-", dir=options.folder) as folder:
        root, distinct = Path(folder, "data"), Path(folder, "distinct")
        num_validation = min(options.pairs, VALIDATION_PAIRS)
        draw_images(distinct, min(options.distinct, options.pairs))
        link_split(root, "train", distinct, options.pairs)
        link_split(root, "val", distinct, num_validation)
        for sequence in range(TEST_SEQUENCES):
            link_split(root, "test", distinct, num_validation, sequence=str(sequence))
        size_mb = np.mean([path.stat().st_size for path in distinct.iterdir()]) / 1e6
        size = "x".join(map(str, STORED))
        print(f"{options.pairs} + {num_validation} pairs of {size}, {size_mb:.2f} MB per image on average")

        for split, pairs in (("train", options.pairs), ("val", num_validation)):
            timed(f"pack {split}", 2 * pairs, lambda split=split: pack(root, split, options.threads))
            timed(f"open {split} again", 2 * pairs, lambda split=split: pack(root, split, options.threads))
        timed("read test", TEST_SEQUENCES * (num_validation + 1), lambda: read_test_sequences(root, PACKED))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed of packing a data set of the course's full size.")
    parser.add_argument("--pairs", type=int, default=TRAINING_PAIRS, help="training pairs (default: %(default)s)")
    parser.add_argument("--distinct", type=int, default=200, help="number of distinct pairs (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="number of decoding threads (default: one per core)")
    parser.add_argument("--folder", type=Path, help="parent of the temporary folder (default: that of the system)")
    return parser.parse_args()


def draw_images(folder: Path, num_pairs: int) -> None:
    """Draw the dancer at half size, enlarged and with noise, so that a PNG is as large as that of a photograph."""
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
    """Link the distinct pairs repeatedly under consecutive names; a test sequence has one photo."""
    num_distinct = len(list(distinct.iterdir())) // 2
    for folder, kind in zip(image_folders(root, split), ("img", "label"), strict=True):
        (folder / sequence).mkdir(parents=True)
        for number in range(1 if sequence and kind == "img" else num_pairs):
            os.link(distinct / f"{number % num_distinct}-{kind}.png", folder / sequence / f"frame{number:06d}.png")


def pack(root: Path, split: str, threads: int | None) -> None:
    with counting(f"packing {split}") as progress:
        load_recordings(root, split, PACKED, progress=progress, threads=threads)


def timed(label: str, num_images: int, work: Callable[[], Result]) -> None:
    """Call `work` once, and print its time and the number of busy cores."""
    start, start_cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    print(
        f"{label}: {num_images} images in {seconds:.1f} s, {num_images / seconds:.0f} images/s, "
        f"{cpu_seconds / seconds:.1f} of {os.cpu_count()} cores busy",
        flush=True,
    )


if __name__ == "__main__":
    main()
