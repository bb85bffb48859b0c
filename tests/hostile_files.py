"""Names and contents of files that FFmpeg, shells, terminals, glob, rich or file systems interpret."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from posecast.data.pose_maps import SKELETON
from posecast.video.pose_estimation import Person, Region

PORT = 9
STEMS = (
    # Protocols and devices of FFmpeg.
    *(f"{name}:127.0.0.1:{PORT}?x" for name in "http https tcp udp rtp rtsp rtmp ftp tls httpproxy gopher srt".split()),
    *("concat:a.mp4|b", "concatf:list", "subfile,,start,0,end,9,,:x", "data:text,x", "pipe:0", "fd:0", "crypto:x"),
    *("cache:x", "async:x", "file:x", "tee:[f=mp4]x", "unix:x", "md5:x", "crypto+http:x", "hls+http:x", "ffrtmphttp:x"),
    *("lavfi:testsrc", "x11grab:0", "v4l2:video0", "link:x"),
    # Names for fsspec, TensorBoard and Windows.
    *("simplecache::x", "github::x", "s3:x", "gs:x", "con", "nul", "C:x", "aux.x"),
    # Patterns, options, shells, templates.
    *("frame%d", "frame%03d", "100%", "%s%n", "a*b", "a?b", "[abc]", "{a,b}", "**", "-", "--help", "-i x", "@file"),
    *("a=b", "~", "$HOME", "`id`", "$(id)", ";id", "a&b", "'quote", '"quote', "{0}", "{{x}}", "#x", "back\\slash"),
    # Terminals, rich, HTML.
    *("new\nline", "tab\there", "\x1b[31mred", "\x07bell", "[red]x", "[link=x]", "<b>x", "<script>x"),
    # Other alphabets, invisible letters, bytes that are no text, spaces, dots, length.
    *("影片", "e\u0301", "\u202egpj", "\u200b", "😀", "\udcff\udcfe", "x\udce9"),
    *(" x", "x ", "x.", "..x", "...", " ", "x" * 250),
)
ENDINGS = (".mp4", ".gif", ".webp", "")
OUTPUTS = [stem + ending for stem in STEMS for ending in ENDINGS if ending or not Path(stem).suffix]

PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n%s\n#EXT-X-ENDLIST\n"
MPD = b"""<?xml version="1.0"?>%s<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"
mediaPresentationDuration="PT5S"><BaseURL>http://127.0.0.1:9/</BaseURL><Period><AdaptationSet mimeType="video/mp4">
<Representation id="1" bandwidth="1"><BaseURL>ok.mp4</BaseURL><SegmentBase indexRange="0-1"/></Representation>
</AdaptationSet></Period></MPD>"""
CONTENTS = {
    "sdp": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",
    "ffconcat": b"ffconcat version 1.0\nfile ok.mp4\n",
    "ffconcat of an address": b"ffconcat version 1.0\nfile http://127.0.0.1:9/x.mp4\n",
    "hls": PLAYLIST % b"ok.mp4",
    "hls of an address": PLAYLIST % b"http://127.0.0.1:9/x.ts",
    "hls with a key": PLAYLIST.replace(b"#EXTINF", b'#EXT-X-KEY:METHOD=AES-128,URI="http://127.0.0.1:9/k"\n#EXTINF')
    % b"ok.mp4",
    "hls of playlists": b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://127.0.0.1:9/a.m3u8\n",
    "dash": MPD % b"",
    "dash with an entity": MPD % b'<!DOCTYPE MPD [<!ENTITY x SYSTEM "http://127.0.0.1:9/x">]>',
    "vobsub": b"# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n"
    b"timestamp: 00:00:01:000, filepos: 0\n",
    "asx": b"<asx version='3.0'><entry><ref href='http://127.0.0.1:9/x'/></entry></asx>",
    "real": b"rtsp://127.0.0.1:9/x.rm\n",
    "pls": b"[playlist]\nFile1=http://127.0.0.1:9/x.mp4\nNumberOfEntries=1\n",
    "imf": b'<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"/>',
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:9/x.png"/></svg>',
}
"""Files that name other files or addresses."""


class Standing:
    """Estimator that finds the same person in every frame."""

    name = "standing"
    keypoints = np.concatenate([np.linspace((20, 8), (28, 40), len(SKELETON)), np.ones((len(SKELETON), 1))], axis=1)

    def everybody(self, frame: np.ndarray, number: int, *, closely: bool) -> list[Person]:
        return [Person(self.keypoints.astype(np.float32), Region(0, 0, 0, 0))]

    def again(self, frame: np.ndarray, number: int, last: Person) -> Person | None:
        return self.everybody(frame, number, closely=False)[0]


def write_sounding(path: Path) -> None:
    """Write twelve frames of 48x48 with half a second of sound."""
    with path.open("wb") as file, av.open(file, "w", format="mp4") as container:
        video, sound = container.add_stream("libx264", rate=24), container.add_stream("aac", rate=16000)
        video.height, video.width, video.pix_fmt, sound.layout = 48, 48, "yuv420p", "mono"
        for k in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((48, 48, 3), 20 * k, np.uint8), format="rgb24")
            container.mux(video.encode(frame))
        for k in range(8):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            block.rate, block.pts, block.time_base = 16000, 1024 * k, Fraction(1, 16000)
            container.mux(sound.encode(block))
        container.mux([*video.encode(None), *sound.encode(None)])


def fill(folder: Path) -> None:
    write_sounding(folder / "ok.mp4")
    for stem in STEMS:
        os.link(folder / "ok.mp4", folder / f"{stem}.mp4")
