"""Tests of opening files with FFmpeg: errors of the disk, and which stream is the video. See also `test_names.py`."""

import errno
import io
from pathlib import Path

import av
import numpy as np
import pytest
from av.error import FFmpegError

from posecast.video.containers import open_input, open_mp4, reason, video_stream


class FullDisk(io.BytesIO):
    """File of which only the first bytes can be written."""

    def __init__(self, free: int) -> None:
        super().__init__()
        self.free = free

    def write(self, content: bytes) -> int:  # type: ignore[override]
        if self.tell() + len(content) > self.free:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(content)


def write_noise(file: io.BytesIO) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), np.uint8)
    container = open_mp4(file)
    stream = container.add_stream("libx264", rate=25)
    stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
    for frame in noise:
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    container.mux(stream.encode(None))
    container.close()


@pytest.mark.parametrize("free", [0, 100, 5000, 40_000])
def test_full_disk_raises_its_error_and_prints_nothing(free: int, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match="No space left"):
        write_noise(FullDisk(free))
    assert capfd.readouterr().err == ""


def test_error_is_described_without_number_and_name(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(FFmpegError) as raised, open_input(tmp_path / "a.mp4"):
        pass
    assert reason(raised.value) == "Invalid data found when processing input"
    assert reason(ValueError("too large")) == "too large"


def test_file_without_video_has_no_video_stream(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        block = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        block.rate = 8000
        container.mux([*stream.encode(block), *stream.encode(None)])
    with open_input(tmp_path / "a.wav") as container:
        assert video_stream(container) is None
        assert [audio.type for audio in container.streams] == ["audio"]
