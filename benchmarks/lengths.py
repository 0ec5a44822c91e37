"""Decoded lengths: seconds by an independent reference and in the store of `preprocess`, of many encoders or a folder.

    python benchmarks/lengths.py                    # 300 files that it makes; --out FILE writes the page as well
    python benchmarks/lengths.py --folder MUSIC     # every file below a folder

The files are made by every encoder at hand (libsndfile's and FFmpeg's through PyAV) at several rates and numbers of
channels, then left as they are or changed as files in the wild are: without the header that counts the frames, joined
with another, with tags and pictures before and behind, cut. The reference is the length that was encoded; for a folder
it is ffprobe where that is on the PATH, and else the time stamps of FFmpeg's packets. A file that was cut must be
rejected; all others must decode to their length within the encoder's delay.
"""

import argparse
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np
import pandas as pd
import soundfile
from machine import processor

from tagscale.catalog.tables import TAG_COLUMNS, TRACK_COLUMNS, Catalog
from tagscale.decoding.decode import DECODER
from tagscale.decoding.lengths.frames import tag_at
from tagscale.decoding.lengths.window import Window
from tagscale.params.load import load
from tagscale.stages import preprocess
from tagscale.store.read import Store, read_rejected

PARAMS = Path(__file__).parents[1] / "params.yaml"

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
SNDFILE = {  # kind -> format, subtype, options, rates
    "wav 16": ("WAV", "PCM_16", {}, (8000, 11025, 44100, 96000)),
    "wav 24": ("WAV", "PCM_24", {}, (44100, 96000)),
    "wav float": ("WAV", "FLOAT", {}, (22050, 48000)),
    "wav u-law": ("WAV", "ULAW", {}, (8000,)),
    "wav adpcm": ("WAV", "IMA_ADPCM", {}, (22050,)),
    "rf64": ("RF64", "PCM_16", {}, (48000,)),
    "w64": ("W64", "PCM_24", {}, (44100,)),
    "aiff": ("AIFF", "PCM_16", {}, (22050, 44100)),
    "au": ("AU", "PCM_16", {}, (8000, 44100)),
    "caf": ("CAF", "ALAC_16", {}, (44100,)),
    "flac": ("FLAC", "PCM_16", {}, (16000, 44100, 96000)),
    "ogg vorbis": ("OGG", "VORBIS", {}, (8000, 22050, 44100, 48000)),
    "opus": ("OGG", "OPUS", {}, (16000, 48000)),
    "mp3 constant": ("MP3", "MPEG_LAYER_III", {"bitrate_mode": "CONSTANT"}, (8000, 11025, 16000, 22050, 44100, 48000)),
    "mp3 variable": ("MP3", "MPEG_LAYER_III", {"bitrate_mode": "VARIABLE"}, (8000, 22050, 32000, 44100, 48000)),
}
FFMPEG = {  # kind -> muxer, encoder, options, rates
    "mp3 no header": ("mp3", "libmp3lame", {"write_xing": "0"}, (16000, 24000, 44100, 48000)),
    "mp2": ("mp2", "mp2", {}, (22050, 48000)),
    "m4a aac": ("ipod", "aac", {}, (8000, 22050, 44100, 96000)),
    "m4a alac": ("ipod", "alac", {}, (44100, 96000)),
    "mp4 fragments": ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}, (44100,)),
    "aac": ("adts", "aac", {}, (16000, 44100)),
    "wma": ("asf", "wmav2", {}, (22050, 44100)),
    "webm opus": ("webm", "libopus", {}, (48000,)),
    "matroska aac": ("matroska", "aac", {}, (44100,)),
    "wavpack": ("wv", "wavpack", {}, (44100,)),
    "tta": ("tta", "tta", {}, (44100,)),
    "ogg flac": ("ogg", "flac", {}, (44100,)),
}
MONO_OR_STEREO = ("mp3", "mp2", "wma", "wav u-law", "wav adpcm", "caf")
JOINABLE = ("mp3", "mp2", "aac", "ogg vorbis", "opus", "flac")
TAGGABLE = ("mp3", "mp2", "aac", "flac")
CUT = 0.6  # of a file that was cut


@dataclass(frozen=True)
class Case:
    """A file, how it came to be, and its seconds; None = it must be rejected."""

    path: Path
    kind: str
    change: str
    seconds: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="Measure the files below it, in place of those that are made.")
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        music, work = Path(name) / "music", Path(name) / "work"
        music.mkdir()
        cases = _found(arguments.folder) if arguments.folder else _made(music, arguments.files)
        rows, rejections = _measure(list(cases), arguments.folder or music, work)
    page = _page(rows, rejections, arguments.folder)
    print(page, end="")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(page, encoding="utf-8")


def _measure(
    cases: list[Case], root: Path, work: Path
) -> tuple[dict[tuple[str, str], list[tuple[float | None, float | None]]], list[str]]:
    """(kind, change) -> (seconds by the reference, seconds in the store; None = rejected), and the reasons."""
    by_id = {f"{number:04}": case for number, case in enumerate(cases)}
    tracks = pd.DataFrame("", index=range(len(cases)), columns=TRACK_COLUMNS, dtype=object)
    tracks["track_id"], tracks["path"] = list(by_id), [case.path.relative_to(root).as_posix() for case in cases]
    tracks["seconds"], tracks["split"] = np.nan, None
    labels = pd.DataFrame({"tag": np.float32(0)}, index=pd.Index(by_id, name="track_id"))
    tags = pd.DataFrame([["", "classification", ""]], index=pd.Index(["tag"], name="tag"), columns=TAG_COLUMNS)
    Catalog("lengths", tracks, labels, tags).save(work / "catalog")
    preprocess.run(load(PARAMS), root=root, catalog=work / "catalog", store=work / "store")
    seconds = Store.open(work / "store").facts["source_seconds"]
    reasons = read_rejected(work / "store").set_index("track_id")["reason"]
    rows = defaultdict(list)
    for track, case in by_id.items():
        rows[case.kind, case.change].append((case.seconds, seconds.get(track)))
    return rows, [f"{by_id[track].kind}, {by_id[track].change}: {reason}" for track, reason in reasons.items()]


def _made(folder: Path, files: int) -> Iterator[Case]:
    """Make files one by one: every kind, rate and number of channels in turn, with every change that it can have."""
    random = np.random.default_rng(0)
    kinds = [(kind, rate) for table in (SNDFILE, FFMPEG) for kind, entry in table.items() for rate in entry[3]]
    number = 0
    while True:
        for kind, rate in kinds:
            channels = int(random.choice([1, 2] if kind.startswith(MONO_OR_STEREO) else [1, 2, 2, 6]))
            for change in _changes(kind):
                if number == files:
                    return
                seconds = round(float(random.uniform(1.5, 6)), 2)
                path = folder / f"{number:03}"
                content = _encoded(path, kind, rate, channels, seconds, number)
                content, seconds_now = _changed(path, content, change, kind, rate, channels, seconds)
                path.write_bytes(content)
                number += 1
                yield Case(path, kind, change, seconds_now)


def _changes(kind: str) -> list[str]:
    changes = ["as it is", "cut"]
    changes += ["joined"] if kind.startswith(JOINABLE) else []
    changes += ["tags around"] if kind.startswith(TAGGABLE) else []
    changes += ["header without a count"] if kind in ("wav 16", "flac", "mp3 constant", "mp3 variable") else []
    return changes


def _encoded(path: Path, kind: str, rate: int, channels: int, seconds: float, seed: int) -> bytes:
    wave = np.random.default_rng(seed).uniform(-0.3, 0.3, (round(seconds * rate), channels))
    wave[: len(wave) // 4] *= 1e-3  # a quiet beginning, from which decoders guess a wrong length
    if kind in SNDFILE:
        name, subtype, options, _ = SNDFILE[kind]
        soundfile.write(path, wave, rate, format=name, subtype=subtype, **options)
    else:
        muxer, codec, options, _ = FFMPEG[kind]
        with av.open(str(path), "w", format=muxer, options=options) as container:
            stream = container.add_stream(codec, rate=rate, layout=LAYOUTS[channels], options=options)
            if codec == "wmav2":
                stream.bit_rate = 32_000 * channels
            stream.codec_context.open(strict=False)
            context = stream.codec_context
            convert = av.AudioResampler(context.format, LAYOUTS[channels], rate, context.frame_size or 4096)
            planes = np.ascontiguousarray(wave.T.astype(np.float32))
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=LAYOUTS[channels])
            frame.sample_rate = rate
            pieces = [*convert.resample(frame), *convert.resample(None), None]
            container.mux([packet for piece in pieces for packet in stream.encode(piece) if packet.size])
    return path.read_bytes()


def _changed(
    path: Path, content: bytes, change: str, kind: str, rate: int, channels: int, seconds: float
) -> tuple[bytes, float | None]:
    """The changed content, and its seconds."""
    if change == "cut":
        return content[: int(CUT * len(content))], None
    if change == "joined":
        return content + _encoded(path, kind, rate, channels, 2.0, 1), seconds + 2.0
    if change == "tags around":
        picture = b"ID3\x03\x00\x00\x00\x0c\x35\x00" + os.urandom(203_392)
        return picture + content + b"TAG" + bytes(125), seconds
    if change == "header without a count":
        head = bytearray(content)
        if kind == "wav 16":
            place = content.index(b"data") + 4
            head[place : place + 4] = struct.pack("<I", 0xFFFFFFFF)
        elif kind == "flac":
            head[21:26] = bytes([head[21] & 0xF0, 0, 0, 0, 0])
        else:
            with open(path, "rb") as file:
                begin = tag_at(Window(file), 0)
            head = head[content.index(content[begin : begin + 2], begin + 40) :]
        return bytes(head), seconds
    return content, seconds


def _found(folder: Path) -> Iterator[Case]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield Case(path, path.suffix.lower() or "no suffix", "as it is", _reference(path))


def _reference(path: Path) -> float | None:
    """Seconds by ffprobe, or else by the time stamps of FFmpeg's packets; None = no audio for them."""
    if shutil.which("ffprobe"):
        options = ["-v", "error", "-select_streams", "a:0", "-show_entries", "format=duration", "-of", "csv=p=0"]
        said = subprocess.run(["ffprobe", *options, str(path)], capture_output=True, text=True).stdout.strip()
        try:
            return float(said)
        except ValueError:
            return None
    try:
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux(audio=0) if packet.pts is not None and packet.duration]
            return float((packets[-1].pts + packets[-1].duration - max(packets[0].pts, 0)) * packets[0].time_base)
    except (av.FFmpegError, IndexError, ValueError, UnicodeError):
        return None


def _page(
    rows: dict[tuple[str, str], list[tuple[float | None, float | None]]], rejections: list[str], folder: Path | None
) -> str:
    count = sum(map(len, rows.values()))
    reference = "ffprobe" if shutil.which("ffprobe") else "FFmpeg's packets"
    what = f"the files of a folder, against {reference}" if folder else "files made by every encoder at hand"
    lines = [
        "# Decoded lengths",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {processor()}; decoder {DECODER}, libsndfile "
        f"{soundfile.__libsndfile_version__}, PyAV {av.__version__}; {count} {what}. "
        "Made by benchmarks/lengths.py in one run of `preprocess`.",
        "",
        "| format | files are | files | seconds, reference | seconds, ours | largest difference, s | rejected |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for (kind, change), pairs in sorted(rows.items()):
        both = [(first, second) for first, second in pairs if first is not None and second is not None]
        rejected = sum(second is None for _, second in pairs)
        accepted = sum(first is None and second is not None for first, second in pairs)
        difference = f"{max(abs(first - second) for first, second in both):.3f}" if both else ""
        sums = [f"{sum(column):.2f}" for column in zip(*both, strict=True)] or ["", ""]
        note = f" (**{accepted} accepted without a reference**)" if accepted else ""
        lines.append(
            f"| {kind} | {change} | {len(pairs)} | {sums[0]} | {sums[1]} | {difference} | {rejected or ''}{note} |"
        )
    if rejections:
        kinds = defaultdict(int)
        for reason in rejections:
            kinds[re.sub(r"\d+(\.\d+)?", "N", reason.partition(": ")[2])] += 1
        lines += ["", "Reasons of the rejected (N = a number):", ""]
        lines += [f"- {number} x {reason}" for reason, number in sorted(kinds.items(), key=lambda e: -e[1])]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
