"""Weights, images, submissions and keypoints of strangers: what they claim is checked against what they hold."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import pytest

from .place import Place, linux_only
from .test_exhausting_files import BOMBS
from .test_names_in_files import REFUSED, TEXTS

pytestmark = linux_only


def tensors(header: Any, size: int = 64) -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return len(text).to_bytes(8, "little") + text + bytes(size)


def tensor(dtype: str = "F32", shape: Any = (4, 4), offsets: Any = (0, 64)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


WEIGHTS = {
    "long header": (2**62).to_bytes(8, "little") + b"{}",
    "header beyond the file": (2**20).to_bytes(8, "little") + b"{}",
    "shape beyond the file": tensors({"x": tensor(shape=(2**40, 2**20))}),
    "overflowing shape": tensors({"x": tensor(shape=(2**63, 2))}),
    "offsets beyond the file": tensors({"x": tensor(offsets=(0, 2**40))}),
    "negative offsets": tensors({"x": tensor(offsets=(-64, 0))}),
    "overlapping": tensors({"x": tensor(), "y": tensor()}),
    "unknown type": tensors({"x": tensor("F33")}),
    "half bytes": tensors({"x": tensor("F4", (128,))}),
    "complex": tensors({"x": tensor("C64", (8,))}),
    "other metadata": tensors({"__metadata__": None, "x": tensor()}),
    "metadata of numbers": tensors({"__metadata__": {"blake2b": 1}, "x": tensor()}),
    "wrong digest": tensors({"__metadata__": {"blake2b": "0"}, "x": tensor()}),
    "deep header": tensors(b'{"x":' + b"[" * 100_000),
    "no tensor": tensors({}, 0),
    "escapes in a name": tensors({"\x1b[31m\n../../outside/x": tensor()}),
    "long name": tensors({"x" * 1_000_000: tensor()}),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_lie_are_refused(place: Place, case: str) -> None:
    (place.folder / "run" / "model.safetensors").write_bytes(WEIGHTS[case])
    output = place.run("evaluate", "run", "--data", "data")
    assert "model.safetensors" in output
    assert len(output) < 1000


def png(height: int, width: int) -> bytes:
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(1000)))]
    framed = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in [*chunks, (b"IEND", b"")]
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.parametrize("size", [(60_000, 60_000), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1), (0, 0), (9000, 9000)])
def test_image_that_claims_to_be_huge_is_refused(place: Place, size: tuple[int, int]) -> None:
    (place.folder / "input").write_bytes(png(*size))
    words = "generate run --first-frame input --poses data/test/test_label/0 --out made"
    assert "input" in place.run(*words.split())
    frame = next((place.own_data() / "train" / "train_img").iterdir())
    frame.write_bytes(png(*size))
    assert frame.name in place.run("check", "data", status=(1, 2))


# Submissions and keypoints.

SUBMISSIONS = {
    "empty": "",
    "escapes": "id,\x1b[31mvalue\n1,2\n",
    "formulas": "id,pixel_0\n=1+1,@x\n",
    "long line": "id," + ",".join(["pixel"] * 200_000),
    "long cell": "id," + "9" * 300_000 + "\n",
    "many digits": "id,pixel_0\n" + "9" * 5000 + ",1\n",
    "infinite": "id,pixel_0\n0,1e999\n",
    "nulls": "id,\0,\0\n0,\0\n",
    "markup": "[red]id[/red],[link=http://x]y\n0,1\n",
    "quotes": 'id,"' + "x\n" * 10_000,
    "no text": "\udcff\udcfe\n",
}


@pytest.mark.parametrize("case", SUBMISSIONS)
def test_hostile_submission_is_refused(place: Place, case: str) -> None:
    path = place.folder / "input"
    path.write_text(SUBMISSIONS[case], errors="surrogateescape")
    words = ["score", "input", "--truth", "data/test/test_label", "--size", "16x16"]
    output = place.run(*words)
    assert "input" in output
    assert len(output) < 1000
    path.write_text(SUBMISSIONS[case].replace("pixel_0", "Usage"), errors="surrogateescape")
    place.run("score", "made", "--truth", "data/test/test_label", "--parts", "input")


@pytest.mark.parametrize("case", [*(name for name in BOMBS if name != "infinite"), "hostile names"])
def test_hostile_keypoints_are_refused(place: Place, case: str) -> None:
    people = [{"image_id": text, "keypoints": [1.0] * 51, "category_id": 1} for text in (*REFUSED[:20], *TEXTS)]
    content = json.dumps(people) if case == "hostile names" else BOMBS[case]
    (place.folder / "input").write_text(content, errors="surrogatepass")
    (place.folder / "input").rename(place.folder / "made")
    (place.folder / "input").mkdir()
    (place.folder / "made").rename(place.folder / "input" / "poses.json")
    words = ["extract", "clip.mp4", "made", "--size", "16x16", "--keypoints", "input/poses.json"]
    place.run(*words)
