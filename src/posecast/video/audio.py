"""A video's sound laid under another video.

In: two files, where the sound begins. Out: the MP4 with the sound, re-encoded as AAC, which every player knows.
Knows no poses. Next: `generate.py`.
"""

from __future__ import annotations

from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError

from posecast.errors import InputError
from posecast.files import replacing


def add_sound(video: Path, source: Path, *, start_s: float = 0.0) -> None:
    """Give an MP4 the sound of `source` from `start_s` on, as long as the pictures last; replaces `video`, whole.

    Raises InputError if `source` has no sound or cannot be read.
    """
    try:
        with replacing(video) as temporary, av.open(str(video)) as pictures, av.open(str(source)) as heard:
            if not heard.streams.audio:
                raise InputError(f"{source} has no sound; leave --audio away.")
            with av.open(str(temporary), "w", format="mp4") as out:
                _join(out, pictures, heard, start_s)
    except FFmpegError as error:
        raise InputError(f"The sound of {source} cannot be used ({error}); leave --audio away.") from error


def _join(
    out: OutputContainer,
    pictures: InputContainer,
    heard: InputContainer,
    start_s: float,
) -> None:
    shown, said = pictures.streams.video[0], heard.streams.audio[0]
    picture_stream = out.add_stream_from_template(shown)
    sound_stream = out.add_stream("aac", rate=said.codec_context.sample_rate)
    sound_stream.layout = "stereo" if said.codec_context.channels > 1 else "mono"
    length_s = float((shown.duration or 0) * (shown.time_base or 0))
    for packet in pictures.demux(shown):
        if packet.dts is not None:
            packet.stream = picture_stream
            out.mux(packet)
    resampler = av.AudioResampler("fltp", sound_stream.layout, sound_stream.rate, frame_size=1024)
    first = heard.start_time / av.time_base if heard.start_time else 0.0
    written = 0
    for frame in heard.decode(said):
        time_s = (frame.time or 0.0) - first - start_s
        if time_s < 0:
            continue
        if time_s >= length_s:
            break
        for block in resampler.resample(frame):
            block.pts, written = written, written + block.samples
            out.mux(sound_stream.encode(block))
    out.mux(sound_stream.encode(None))
