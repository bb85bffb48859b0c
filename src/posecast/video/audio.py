"""Sound of one video added to another.

In: an MP4 without sound, and a file with sound. Out: the MP4 with the sound, encoded as AAC, which every player reads.
Next: `generate.py`.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError

from posecast.errors import InputError
from posecast.files import replacing
from posecast.video.containers import decoded_frames, open_input, open_mp4, reason, video_stream

AAC_FRAME_SAMPLES = 1024
AAC_RATES = frozenset((8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000))
"""Sampling rates of AAC, in hertz; sound of another rate becomes 48 kHz."""
MAX_DRIFT_S = 0.05
"""Largest difference between a sample's place and its time stamp; a larger one is a gap in the sound, which stays."""


def check_sound(source: Path) -> None:
    """Raise InputError if a file has no sound or cannot be read."""
    try:
        with open_input(source) as sound:
            if not sound.streams.audio:
                raise InputError(f"{source} has no sound; omit --audio.")
    except FFmpegError as error:
        raise InputError(f"The sound of {source} cannot be used ({reason(error)}); omit --audio.") from error


def add_sound(video: Path, source: Path, *, start_s: float = 0.0) -> None:
    """Add the sound of `source` to an MP4, as long as the video lasts; the frames stay unchanged.

    Args:
        video: MP4 that is replaced, atomically.
        source: File with sound.
        start_s: Time in `source`, from its first frame, at which the sound starts, in seconds.

    Raises:
        InputError: `source` has no sound or cannot be read; `video` is unchanged.
    """
    check_sound(source)
    try:
        with (
            replacing(video) as temporary,
            open_input(video) as frames,
            open_input(source) as sound,
            temporary.open("wb") as file,
        ):
            out = open_mp4(file)
            _mux(out, frames, sound, _origin_s(source) + start_s)
            out.close()
    except FFmpegError as error:
        raise InputError(f"The sound of {source} cannot be used ({reason(error)}); omit --audio.") from error


def _mux(out: OutputContainer, frames: InputContainer, sound: InputContainer, origin_s: float) -> None:
    """Copy the video stream of `frames`, and encode the audio stream of `sound` from the time stamp `origin_s` on."""
    video_in, audio_in = frames.streams.video[0], sound.streams.audio[0]
    video_out = out.add_stream_from_template(video_in)
    rate = audio_in.codec_context.sample_rate
    audio_out = out.add_stream("aac", rate=rate if rate in AAC_RATES else 48_000)
    audio_out.layout = "stereo" if audio_in.codec_context.channels > 1 else "mono"
    length_s = float((video_in.duration or 0) * (video_in.time_base or 0))
    for packet in frames.demux(video_in):
        if packet.dts is not None:
            packet.stream = video_out
            out.mux(packet)
    resampler = av.AudioResampler("fltp", audio_out.layout, audio_out.rate, frame_size=AAC_FRAME_SAMPLES)
    num_samples = 0
    for frame in decoded_frames(sound, audio_in, on_damage=lambda: None):
        time_s = (frame.time or 0.0) - origin_s
        if time_s < 0:
            continue
        if time_s >= length_s:
            break
        if time_s - num_samples / audio_out.rate > MAX_DRIFT_S:
            num_samples = round(time_s * audio_out.rate)
        for block in resampler.resample(frame):
            block.pts, block.time_base = num_samples, Fraction(1, audio_out.rate)
            num_samples += block.samples
            out.mux(audio_out.encode(block))
    out.mux(audio_out.encode(None))


def _origin_s(source: Path) -> float:
    """Return the time stamp in seconds of the first frame that can be decoded, from which `reader.py` counts.

    In a recording cut out of a broadcast, the first packets cannot be decoded.
    """
    with open_input(source) as container:
        stream = video_stream(container)
        first = next(decoded_frames(container, stream, on_damage=lambda: None), None) if stream else None
        if first is not None and first.pts is not None and first.time_base is not None:
            return float(first.pts * first.time_base)
        return container.start_time / av.time_base if container.start_time else 0.0
