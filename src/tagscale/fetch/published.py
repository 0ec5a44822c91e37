"""What the authors of the datasets publish, and where: addresses, sizes, digests.

MagnaTagATune's digests are SHA-256. FMA's authors publish SHA-1 sums (README of github.com/mdeff/fma): they find a
damaged download just as well, but do not protect from a forged file. FMA's exact sizes are those that users of its
server have recorded (the README has them rounded); the sizes of fma_full.zip and of the parts of MagnaTagATune's
archive are unknown.
"""

from dataclasses import dataclass

from tagscale.params.datasets import DATASETS, Facts

GB = 1_000_000_000


@dataclass(frozen=True)
class File:
    """One file to download.

    Attributes:
        name: below the dataset's address, and in the user's folder.
        digest: algorithm (a name of hashlib) and hexadecimal digest, as `sha256:99b9...`.
        size: exact bytes; None: unknown, so that the server's size counts and the digest decides.
        about: roughly the bytes, for the check of disk space where `size` is unknown.
    """

    name: str
    digest: str
    size: int | None = None
    about: int = 0

    @property
    def expected(self) -> int:
        """Bytes for the check of disk space."""
        return self.size if self.size is not None else self.about


@dataclass(frozen=True)
class Archive:
    """A zip file, whole or cut into parts.

    Attributes:
        parts: files that, one after the other, are the zip file.
        folder: where it is unpacked, below the user's folder.
        inner: the one folder in the archive that becomes `folder`; "": the whole archive does.
        unpacked: roughly the bytes that it takes unpacked, for the check of disk space before the download.
        most: bytes that it may take unpacked; an archive that announces more is refused.
    """

    parts: tuple[File, ...]
    folder: str
    inner: str
    unpacked: int
    most: int


@dataclass(frozen=True)
class Dataset:
    """A published dataset: `annotations` and, by variant, `audio`; the first variant is the usual one."""

    facts: Facts
    address: str
    annotations: tuple[File | Archive, ...]
    audio: dict[str, Archive]
    preset: str


def _fma(name: str, sha1: str, size: int | None, unpacked: int, about: int = 0) -> Archive:
    """An archive of FMA. Zip files hardly compress MP3, so an archive that unpacks to far more bytes is not theirs."""
    file = File(f"{name}.zip", f"sha1:{sha1}", size, about)
    return Archive((file,), folder=name, inner=name, unpacked=unpacked, most=unpacked * 3 // 2)


PUBLISHED = {
    "mtt": Dataset(
        facts=DATASETS["mtt"],
        address="https://mirg.city.ac.uk/datasets/magnatagatune/",
        annotations=(
            File(
                "annotations_final.csv",
                "sha256:99b94e95825d4fa576386a5367b9c96e0ec636e9f9c240aceb492f4728f68c3c",
                21_517_373,
            ),
            File(
                "clip_info_final.csv",
                "sha256:cb6108a10d3a91f0bfd7d2fbec2382559d15f20c8d28093f14e12162a47a3e78",
                8_608_397,
            ),
        ),
        audio={
            "all": Archive(
                parts=(
                    File(
                        "mp3.zip.001",
                        "sha256:f857fe185968773058cc71662c2ef5d8f2d4b7338e3c122cfd52f82dcb9760b9",
                        about=GB,
                    ),
                    File(
                        "mp3.zip.002",
                        "sha256:fc2e1ec441755556ed1398b1808f1b08b6034372f8bc27394510c0c58cdb52ce",
                        about=GB,
                    ),
                    File(
                        "mp3.zip.003",
                        "sha256:83a689824c17e82f6eb81cdbc4e4ca239a4cfc1fb41f1a5c80b861caec90450f",
                        about=GB,
                    ),
                ),
                folder="mp3",
                inner="",
                unpacked=3_200_000_000,  # 25,863 clips of 117 kB
                most=6 * GB,
            )
        },
        preset="mtt",
    ),
    "fma": Dataset(
        facts=DATASETS["fma"],
        address="https://os.unil.cloud.switch.ch/fma/",
        annotations=(_fma("fma_metadata", "f0df49ffe5f2a6008d7dc83c6915b31835dfe733", 358_412_441, 2 * GB),),
        audio={
            "small": _fma("fma_small", "ade154f733639d52e35e32f5593efe5be76c6d70", 7_679_594_875, 8 * GB),
            "medium": _fma("fma_medium", "c67b69ea232021025fca9231fc1c7c1a063ab50b", 23_825_005_356, 25 * GB),
            "large": _fma("fma_large", "497109f4dd721066b5ce5e5f250ec604dc78939e", 100_306_112_191, 105 * GB),
            "full": _fma("fma_full", "0f0ace23fbe9ba30ecb7e95f763e435ea802b8ab", None, 990 * GB, about=944 * GB),
        },
        preset="fma",
    ),
}
