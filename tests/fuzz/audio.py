"""Audio files of every encoder at hand, changed, and decoded: their length must be that of an independent decode.

The independent decoder is FFmpeg (PyAV), which here reads on behind every damage. A file may be rejected with a
reason; it may not be accepted as shorter than what FFmpeg finds in it, nor than its original where only its end is
missing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile

from fuzz import mutations
from fuzz.harness import ACCEPTED, MESSAGE, RIGHT, TRACEBACK, Kind, Verdict, random_of
from tagscale.decoding.decode import decode
from tagscale.decoding.formats import SUFFIXES
from tagscale.runtime.errors import TagscaleError

CASES = 2000
TOLERANCE = 0.5  # seconds
SOUNDFILE = [  # suffix, format, subtype
    (".wav", "WAV", "PCM_16"), (".wav", "WAV", "PCM_24"), (".wav", "WAV", "PCM_32"), (".wav", "WAV", "FLOAT"),
    (".wav", "WAV", "DOUBLE"), (".wav", "WAV", "PCM_U8"), (".wav", "WAV", "ULAW"), (".wav", "WAV", "IMA_ADPCM"),
    (".wav", "WAV", "MS_ADPCM"), (".wav", "WAVEX", "PCM_16"), (".wav", "RF64", "PCM_16"), (".w64", "W64", "PCM_16"),
    (".aiff", "AIFF", "PCM_16"), (".aiff", "AIFF", "PCM_24"), (".aiff", "AIFF", "FLOAT"), (".au", "AU", "PCM_16"),
    (".caf", "CAF", "PCM_16"), (".caf", "CAF", "ALAC_16"), (".flac", "FLAC", "PCM_16"), (".flac", "FLAC", "PCM_24"),
    (".ogg", "OGG", "VORBIS"), (".opus", "OGG", "OPUS"), (".mp3", "MP3", "MPEG_LAYER_III"),
]  # fmt: skip
FFMPEG = [  # suffix, container, codec, options of the container
    (".mp3", "mp3", "libmp3lame", {}), (".mp3", "mp3", "libmp3lame", {"write_xing": "0"}),
    (".aac", "adts", "aac", {}), (".m4a", "ipod", "aac", {}), (".m4a", "ipod", "alac", {}),
    (".m4a", "mp4", "aac", {"movflags": "+faststart"}), 
    (".m4a", "mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}),
    (".flac", "flac", "flac", {}), (".ogg", "ogg", "vorbis", {"strict": "-2"}), (".oga", "ogg", "flac", {}),
    (".opus", "opus", "libopus", {}), (".webm", "webm", "libopus", {}), (".mka", "matroska", "flac", {}),
    (".wma", "asf", "wmav2", {}), (".ac3", "ac3", "ac3", {}), (".mp2", "mp2", "mp2", {}), (".wv", "wv", "wavpack", {}),
    (".tta", "tta", "tta", {}), (".wav", "wav", "pcm_s16le", {}), (".aiff", "aiff", "pcm_s16be", {}),
]  # fmt: skip
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
FRAMED = (".mp3", ".aac", ".ac3", ".mp2")  # frames in a row: a cut between two of them cannot be seen
CHAINED = (*FRAMED, ".ogg", ".opus", ".oga")  # one file behind another is one longer file


@dataclass(frozen=True)
class Original:
    """A whole file: its bytes, its length in seconds, and the places between its packets."""

    suffix: str
    label: str
    content: bytes
    seconds: float
    between: frozenset[int]


def sound(seconds: float, rate: int, channels: int, seed: int) -> np.ndarray:
    """(samples, channels) float32: tones that rise, over noise, a little different in each channel."""
    noise = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    waves = [0.4 * np.sin(2 * np.pi * (200 + 50 * i + 60 * time) * time) for i in range(channels)]
    return (np.stack(waves, axis=1) + noise.normal(0, 0.02, (len(time), channels))).astype(np.float32)


def originals(folder: Path) -> list[Original]:
    """One or two files of every encoder, of 2 to 4 seconds, with rates and channels in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    writers: list[tuple[str, Callable[[Path, np.ndarray, int], None]]] = []
    for suffix, form, subtype in SOUNDFILE:
        writers.append((suffix, lambda path, wave, rate, f=form, s=subtype: _by_soundfile(path, wave, rate, f, s)))
    for suffix, container, codec, options in FFMPEG:
        arguments = (container, codec, options)
        writers.append((suffix, lambda path, wave, rate, a=arguments: _by_ffmpeg(path, wave, rate, *a)))
    for number, (suffix, write) in enumerate(writers * 2):
        rate, channels = (44_100, 48_000, 22_050, 16_000)[number % 4], (1, 2)[number // 2 % 2]
        rate = (
            48_000
            if suffix in (".opus", ".webm")
            else 44_100
            if suffix == ".wma"
            else max(rate, 32_000)
            if suffix in (".ac3", ".mp2")
            else rate
        )
        seconds = 2.0 + number % 5 / 2
        path = folder / f"{number:02}{suffix}"
        try:
            write(path, sound(seconds, rate, channels, number), rate)
        except (av.FFmpegError, soundfile.LibsndfileError, ValueError):
            continue  # an encoder that this build has not, or that takes no such rate
        between = _between(path) if suffix in FRAMED else frozenset()
        made.append(Original(suffix, f"{path.name} {rate} Hz", path.read_bytes(), seconds, between))
    return made


def _by_soundfile(path: Path, wave: np.ndarray, rate: int, form: str, subtype: str) -> None:
    soundfile.write(path, wave, rate, format=form, subtype=subtype)


def _by_ffmpeg(path: Path, wave: np.ndarray, rate: int, container: str, codec: str, options: dict[str, str]) -> None:
    with av.open(str(path), "w", format=container, options=dict(options)) as out:
        stream = out.add_stream(codec, rate=rate, layout=LAYOUTS[wave.shape[1]])
        stream.codec_context.options = {"strict": "-2"}
        kind = stream.codec_context.codec.audio_formats[0].name
        resampler = av.AudioResampler(format=kind, layout=LAYOUTS[wave.shape[1]], rate=rate)
        for begin in range(0, len(wave), 1024):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(wave[begin : begin + 1024].T), format="fltp", layout=LAYOUTS[wave.shape[1]]
            )
            frame.sample_rate, frame.pts = rate, begin
            for part in resampler.resample(frame):
                out.mux(stream.encode(part))
        out.mux(stream.encode(None))


def _between(path: Path) -> frozenset[int]:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.audio[0]) if packet.pos is not None]
        return frozenset(packet.pos + packet.size for packet in packets)


def independent(path: Path) -> tuple[float, int]:
    """Seconds and frames that FFmpeg decodes of a file, whatever lies between; 0 where it knows no audio in it."""
    seconds, frames = 0.0, 0
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            for packet in container.demux(container.streams.audio[0]):
                try:
                    for frame in packet.decode():
                        seconds, frames = seconds + frame.samples / frame.sample_rate, frames + frame.samples
                except (av.FFmpegError, ZeroDivisionError):
                    continue
    except (av.FFmpegError, IndexError, ValueError):
        pass
    return seconds, frames


@dataclass(frozen=True)
class Changed:
    """A changed file, and what its length must be: `least` and `most` seconds beside FFmpeg's; None: no such bound."""

    name: str
    suffix: str
    content: bytes
    least: float | None = None
    whole: bool = False  # nothing is lost: a format of the table must be accepted


def changed(wholes: list[Original], number: int) -> Changed:
    """The file of a case."""
    chance = random_of("audio", number)
    one, other = wholes[number % len(wholes)], chance.choice(wholes)
    kind = chance.choice(
        (
            "untouched",
            "suffix",
            "truncate",
            "truncate",
            "join",
            "append",
            "prepend",
            "header",
            "bytes",
            "bytes",
            "bytes",
            "transplant",
        )
    )
    name, content = f"{kind} {one.label}", one.content
    if kind == "untouched":
        return Changed(name, one.suffix, content, one.seconds, whole=True)
    if kind == "suffix":
        return Changed(f"{name} as {other.suffix}", other.suffix, content, one.seconds)
    if kind == "truncate":
        end = chance.choice(
            (chance.randrange(1, len(content)), len(content) - chance.randrange(1, min(3000, len(content))))
        )
        unseen = end in one.between
        return Changed(f"{name} at {end}", one.suffix, content[:end], None if unseen else one.seconds)
    if kind == "join":
        other = one if chance.random() < 0.5 else chance.choice([o for o in wholes if o.suffix == one.suffix])
        both = one.seconds + other.seconds if one.suffix in CHAINED else None
        return Changed(f"{name} and {other.label}", one.suffix, content + other.content, both)
    if kind == "append":
        more = chance.choice((bytes, chance.randbytes))(chance.choice((1, 128, 4096, 100_000)))
        return Changed(f"{name} {len(more)} bytes", one.suffix, content + more, one.seconds)
    if kind == "prepend":
        return Changed(name, one.suffix, chance.randbytes(chance.choice((1, 128, 4096))) + content)
    if kind == "header":
        how = chance.choice((mutations.flip_header, mutations.set_word))
        return Changed(f"{name} {how.__name__}", one.suffix, how(content, chance))
    if kind == "transplant":
        begin = chance.randrange(len(content))
        part = other.content[: chance.randrange(len(other.content))]
        return Changed(f"{name} from {other.label}", one.suffix, content[:begin] + part + content[begin:])
    how, content = mutations.any_of(mutations.BYTES[2:], content, chance)
    return Changed(f"{name} {how}", one.suffix, content)


def judge(wholes: list[Original], number: int, folder: Path) -> Verdict:
    """Decode the file of a case, and compare its length with FFmpeg's."""
    case = changed(wholes, number)
    path = folder / f"audio{case.suffix}"
    path.write_bytes(case.content)
    try:
        decoded = decode(path)
    except TagscaleError as error:
        if case.whole and case.suffix in SUFFIXES:
            return Verdict(ACCEPTED, f"{case.name}: a whole file is rejected: {error}")
        return Verdict(MESSAGE, str(error))
    except MemoryError:
        raise
    except Exception as error:
        return Verdict(TRACEBACK, f"{case.name}: {type(error).__name__}: {error}")
    found, rate = decoded.source_seconds, decoded.source_rate
    if abs(len(decoded.samples) / 16_000 - found) > TOLERANCE:
        return Verdict(ACCEPTED, f"{case.name}: {len(decoded.samples) / 16_000:.2f} s of samples, said {found:.2f} s")
    if case.least is not None and found < case.least - TOLERANCE:
        return Verdict(ACCEPTED, f"{case.name}: accepted with {found:.2f} s of {case.least:.2f} s")
    seconds, frames = independent(path)
    if found < seconds - TOLERANCE and found * rate < frames - TOLERANCE * rate:
        return Verdict(ACCEPTED, f"{case.name}: accepted with {found:.2f} s, FFmpeg finds {seconds:.2f} s")
    return Verdict(RIGHT, f"{case.name}: {found:.2f} s")


def kinds(folder: Path) -> list[Kind]:
    wholes = originals(folder)
    return [Kind("audio", CASES, lambda number, place: judge(wholes, number, place), seconds=20)]
