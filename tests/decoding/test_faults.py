"""Files whose header, or whose decoder, is wrong about their length: the right samples, or the true reason."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_files import encode, write
from tagscale.decoding.decode import decode
from tagscale.decoding.lengths.ogg import checksum
from tagscale.decoding.opened import AudioError
from user_folder import tone

RATE = 22050
JOIN = 0.2  # seconds: an encoder's delay and padding at each join, which decoders do not trim
FAULTS = Path(os.environ.get("TAGSCALE_SHARED_DATA", "nowhere")) / "faults"
SECONDS = {"vbr_without_header.mp3": 12, "joined.mp3": 12, "chained.ogg": 12, "from_a_pipe.flac": 12} | {
    "data_size_zero.wav": 3
}
REASONS = {
    "damaged_inside.ogg": "damaged: the checksum of the Ogg page at byte 3420 is wrong",
    "one_hertz.wav": "sample rate of 1 Hz",
}


def music(seconds: float, rate: int = RATE) -> np.ndarray:
    """A quiet beginning, from whose bitrate decoders guess too short a file, then noise with a tone."""
    wave = tone(seconds, rate, 440, 0.3) + np.random.default_rng(0).uniform(-0.2, 0.2, round(seconds * rate))
    wave[: len(wave) // 4] *= 1e-4
    return wave


def rejected(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        decode(path)
    return caught.value.reason


def content(path: Path, wave: np.ndarray, rate: int = RATE) -> bytes:
    return write(path, [wave], rate).read_bytes()


def pages(ogg: bytes) -> list[bytes]:
    return [b"OggS" + page for page in ogg.split(b"OggS")[1:]]


def without_xing(mp3: bytes) -> bytes:
    """Without the tag and the first frame, which holds the Xing or Info header."""
    begin = tag_at_start(mp3)
    assert mp3[begin : begin + 200].find(b"Xing") > 0 or mp3[begin : begin + 200].find(b"Info") > 0
    second = mp3.index(mp3[begin : begin + 2], begin + 40)
    return mp3[second:]


def tag_at_start(mp3: bytes) -> int:
    return 10 + int.from_bytes(bytes(mp3[6:10]), "big") if mp3[:3] == b"ID3" else 0


@pytest.mark.skipif(not FAULTS.is_dir(), reason="TAGSCALE_SHARED_DATA names no folder with faults")
@pytest.mark.parametrize("name", sorted(SECONDS))
def test_found_files_are_whole(name: str) -> None:
    assert decode(FAULTS / name).source_seconds == pytest.approx(SECONDS[name], abs=0.1)


@pytest.mark.skipif(not FAULTS.is_dir(), reason="TAGSCALE_SHARED_DATA names no folder with faults")
@pytest.mark.parametrize("name", sorted(REASONS))
def test_found_files_have_their_reason(name: str) -> None:
    assert rejected(FAULTS / name).startswith(REASONS[name])


def test_mp3_of_variable_bitrate_without_its_header(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", music(12), RATE, bitrate_mode="VARIABLE", compression_level=0.3)
    whole = decode(tmp_path / "a.mp3")
    (tmp_path / "b.mp3").write_bytes(without_xing((tmp_path / "a.mp3").read_bytes()))
    bare = decode(tmp_path / "b.mp3")
    assert whole.source_seconds == pytest.approx(12, abs=0.01)
    assert bare.source_seconds == pytest.approx(12, abs=0.1)
    assert bare.rms_dbfs == pytest.approx(whole.rms_dbfs, abs=0.1)


@pytest.mark.parametrize("between", [b"", b"TAG" + bytes(125), b"ID3\x04\x00\x00\x00\x00\x07\x68" + bytes(1000)])
def test_joined_mp3(tmp_path: Path, between: bytes) -> None:
    first, second = content(tmp_path / "a.mp3", music(5)), content(tmp_path / "b.mp3", music(3))
    (tmp_path / "c.mp3").write_bytes(first + between + second)
    assert decode(tmp_path / "c.mp3").source_seconds == pytest.approx(8, abs=JOIN)


def test_joined_mp3_whose_second_part_has_no_header_and_is_cut(tmp_path: Path) -> None:
    first, second = content(tmp_path / "a.mp3", music(5)), without_xing(content(tmp_path / "b.mp3", music(3)))
    (tmp_path / "c.mp3").write_bytes(first + second[: len(second) // 2 + 7])
    assert rejected(tmp_path / "c.mp3").startswith("truncated: it ends after 6.")


@pytest.mark.parametrize("rates", [(22050, 44100), (48000, 16000)])
@pytest.mark.parametrize("extension", ["mp3", "flac", "aac"])
def test_files_of_two_rates_joined(tmp_path: Path, extension: str, rates: tuple[int, int]) -> None:
    """Each stretch is resampled from its own rate, so the tone keeps its pitch."""
    first, second = (content(tmp_path / f"{rate}.{extension}", tone(4, rate), rate) for rate in rates)
    (tmp_path / f"c.{extension}").write_bytes(first + second)
    decoded = decode(tmp_path / f"c.{extension}")
    assert decoded.source_rate == rates[0]
    assert decoded.source_seconds == pytest.approx(8, abs=JOIN)
    assert len(decoded.samples) == pytest.approx(decoded.source_seconds * 16000, abs=4)
    for begin in (16000, 5 * 16000):
        spectrum = np.abs(np.fft.rfft(decoded.samples[begin : begin + 32000] * np.hanning(32000)))
        assert np.argmax(spectrum) == 880


def test_chained_ogg(tmp_path: Path) -> None:
    first, second = content(tmp_path / "a.ogg", music(5)), content(tmp_path / "b.ogg", music(3))
    (tmp_path / "c.ogg").write_bytes(first + second)
    assert decode(tmp_path / "c.ogg").source_seconds == pytest.approx(8, abs=0.1)


def test_chained_ogg_of_two_rates(tmp_path: Path) -> None:
    first, second = (content(tmp_path / f"{rate}.ogg", tone(4, rate), rate) for rate in (22050, 44100))
    (tmp_path / "c.ogg").write_bytes(first + second)
    kinds = f"Vorbis 22050 Hz x 1, and from byte {len(first)} on Vorbis 44100 Hz x 1"
    assert rejected(tmp_path / "c.ogg") == f"files of different kinds are joined in it ({kinds}): split them"


def test_chained_ogg_whose_first_part_was_cut(tmp_path: Path) -> None:
    first, second = content(tmp_path / "a.ogg", music(5)), content(tmp_path / "b.ogg", music(3))
    (tmp_path / "c.ogg").write_bytes(b"".join(pages(first)[:-1]) + second)
    assert "the Ogg stream stops without its end mark" in rejected(tmp_path / "c.ogg")


@pytest.mark.parametrize("suffix", [".ogg", ".opus"])
def test_damage_inside_an_ogg_page(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    parts = pages(content(path, music(10, 48000), 48000))
    middle = bytearray(parts[len(parts) // 2])
    middle[len(middle) // 2] ^= 0x10
    place = sum(map(len, parts[: len(parts) // 2]))
    path.write_bytes(b"".join([*parts[: len(parts) // 2], bytes(middle), *parts[len(parts) // 2 + 1 :]]))
    assert rejected(path).startswith(f"damaged: the checksum of the Ogg page at byte {place} is wrong, after ")


def test_an_ogg_page_that_is_missing(tmp_path: Path) -> None:
    parts = pages(content(tmp_path / "a.ogg", music(30)))
    assert len(parts) > 6
    (tmp_path / "a.ogg").write_bytes(b"".join(parts[:4] + parts[5:]))
    assert rejected(tmp_path / "a.ogg").startswith("damaged: pages 4 to 4 are missing before byte")


def test_pages_have_the_checksum_that_libogg_gives_them(tmp_path: Path) -> None:
    for page in pages(content(tmp_path / "a.ogg", music(3))):
        assert checksum(page) == int.from_bytes(page[22:26], "little")


def test_flac_whose_header_does_not_know_its_length(tmp_path: Path) -> None:
    """An encoder that writes to a pipe cannot go back to the header."""
    wave = music(7)
    flac = bytearray(content(tmp_path / "a.flac", wave))
    assert int.from_bytes(flac[21:26], "big") & (1 << 36) - 1 == len(wave)
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    (tmp_path / "b.flac").write_bytes(flac)
    whole, unknown = decode(tmp_path / "a.flac"), decode(tmp_path / "b.flac")
    assert unknown.source_seconds == 7
    assert unknown.audio_sha256 == whole.audio_sha256
    (tmp_path / "b.flac").write_bytes(flac[: len(flac) * 2 // 3])
    assert rejected(tmp_path / "b.flac").startswith("truncated: the last FLAC frame is not whole")


@pytest.mark.parametrize("count", [RATE, RATE * 700])
def test_flac_whose_header_is_wrong(tmp_path: Path, count: int) -> None:
    flac = bytearray(content(tmp_path / "a.flac", music(7)))
    flac[22:26] = count.to_bytes(4, "big")
    (tmp_path / "a.flac").write_bytes(flac)
    if count < RATE * 7:
        assert decode(tmp_path / "a.flac").source_seconds == 7
    else:
        assert rejected(tmp_path / "a.flac") == "truncated: 7.0 s of the 700.0 s that it announces"


def test_damage_inside_a_flac_frame(tmp_path: Path) -> None:
    flac = bytearray(content(tmp_path / "a.flac", music(7)))
    flac[len(flac) // 2] ^= 0x10
    (tmp_path / "a.flac").write_bytes(flac)
    assert rejected(tmp_path / "a.flac").startswith("damaged: ")


def test_joined_flac(tmp_path: Path) -> None:
    flac = content(tmp_path / "a.flac", music(4))
    (tmp_path / "b.flac").write_bytes(flac + flac)
    assert decode(tmp_path / "b.flac").source_seconds == 8
    (tmp_path / "b.flac").write_bytes(flac[:-5000] + flac)
    assert rejected(tmp_path / "b.flac").startswith("truncated: 3.")


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_wav_whose_header_was_never_finished(tmp_path: Path, size: int) -> None:
    wav = bytearray(content(tmp_path / "a.wav", music(3)))
    wav[4:8] = wav[40:44] = struct.pack("<I", size)
    (tmp_path / "a.wav").write_bytes(wav)
    assert decode(tmp_path / "a.wav").source_seconds == 3


def test_wav_whose_header_counts_too_little(tmp_path: Path) -> None:
    wav = bytearray(content(tmp_path / "a.wav", music(12)))
    wav[40:44] = struct.pack("<I", RATE * 2)
    (tmp_path / "a.wav").write_bytes(wav)
    assert rejected(tmp_path / "a.wav").startswith("its header counts 1.0 s of samples, and 485100 bytes")


def test_joined_wav(tmp_path: Path) -> None:
    wav = content(tmp_path / "a.wav", music(4))
    (tmp_path / "a.wav").write_bytes(wav + wav)
    assert (
        rejected(tmp_path / "a.wav") == f"a second file is joined behind the first, from byte {len(wav)} on: split them"
    )


@pytest.mark.parametrize("name", ["AIFF", "AU"])
def test_joined_files_of_plain_samples(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a"
    soundfile.write(path, music(4), RATE, format=name)
    path.write_bytes(path.read_bytes() * 2)
    assert "joined behind the first" in rejected(path) or "that are no chunk follow them" in rejected(path)


def test_chunks_behind_the_samples_are_no_samples(tmp_path: Path) -> None:
    wav = content(tmp_path / "a.wav", music(4))
    picture = b"id3 " + struct.pack("<I", 200_000) + bytes(200_000)
    (tmp_path / "a.wav").write_bytes(wav + picture)
    assert decode(tmp_path / "a.wav").source_seconds == 4


def test_wav_of_64_bit_sizes(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", music(3), RATE, format="RF64")
    assert decode(tmp_path / "a.wav").source_seconds == 3
    encode(tmp_path / "b.wav", [music(3)], RATE, "wav", "pcm_s24le", rf64="always")
    assert decode(tmp_path / "b.wav").source_seconds == 3


def test_tags_pictures_and_padding_around_an_mp3(tmp_path: Path) -> None:
    mp3 = content(tmp_path / "a.mp3", music(6))
    bare = without_xing(mp3)
    picture = b"ID3\x03\x00\x00\x00\x0c\x35\x00" + os.urandom(203_392)
    behind = [
        b"TAG" + bytes(125),
        b"APETAGEX"
        + struct.pack("<4I", 2000, 1032, 1, 1 << 31 | 1 << 29)
        + bytes(8)
        + b"x" * 1000
        + b"APETAGEX"
        + struct.pack("<4I", 2000, 1032, 1, 1 << 31)
        + bytes(8),
        b"LYRICSBEGIN" + b"la " * 500 + b"001511LYRICS200" + b"TAG" + bytes(125),
        bytes(5000),
        b"APETAGEX\xd0\x07\x00\x00" + bytes(20) + b"x" * 3000 + b"APETAGEX" + bytes(24),
    ]
    for tags in behind:
        (tmp_path / "b.mp3").write_bytes(picture + bare + tags)
        assert decode(tmp_path / "b.mp3").source_seconds == pytest.approx(6, abs=0.1)


def test_a_picture_that_names_a_xing_header_is_none(tmp_path: Path) -> None:
    """The bytes 'Info' in a frame's samples are no header that announces more frames than there are."""
    bare = bytearray(without_xing(content(tmp_path / "a.mp3", music(6))))
    bare[60:64] = b"Info"
    (tmp_path / "a.mp3").write_bytes(
        b"ID3\x03\x00\x00\x00\x00\x00\x14" + b"Xing\0\0\0\x01\x7f\xff\xff\xff" + bytes(8) + bare
    )
    assert decode(tmp_path / "a.mp3").source_seconds == pytest.approx(6, abs=0.1)


def test_zeros_in_place_of_half_an_mp3(tmp_path: Path) -> None:
    """So a download looks that was interrupted after its space was reserved."""
    for mp3 in (whole := content(tmp_path / "a.mp3", music(20)), without_xing(whole)):
        half = len(mp3) // 2
        (tmp_path / "a.mp3").write_bytes(mp3[:half] + bytes(len(mp3) - half))
        assert rejected(tmp_path / "a.mp3").startswith("damaged: ")


def test_mp3_of_free_format(tmp_path: Path) -> None:
    """Bitrate index 0: the frames do not say how long they are."""
    soundfile.write(tmp_path / "a.mp3", music(6, 48000), 48000, bitrate_mode="CONSTANT", compression_level=0.6)
    bare = bytearray(without_xing((tmp_path / "a.mp3").read_bytes()))
    length = bare.index(bare[:2], 40)
    for place in range(0, len(bare), length):
        assert bare[place] == 0xFF
        bare[place + 2] &= 0x0F
    (tmp_path / "a.mp3").write_bytes(bare)
    assert decode(tmp_path / "a.mp3").source_seconds == pytest.approx(6, abs=0.1)
