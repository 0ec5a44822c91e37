"""The name of a container image, and whether it means one image for good."""

import re
from dataclasses import dataclass

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.provenance import DIRTY

LATEST = "latest"
_HERE = ("localhost", "127.0.0.1", "[::1]")
_REFERENCE = re.compile(
    r"(?P<name>[\w./:\[\]-]*?[\w-]+)(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True)
class Image:
    """An image as Kubernetes and docker name it.

    name: with its registry; tag: "latest" where none is given; digest: "" where none is given.
    """

    name: str
    tag: str
    digest: str

    @classmethod
    def of(cls, text: str) -> "Image":
        """
        >>> Image.of("registry.example.org:5000/tagscale:0d40257")
        Image(name='registry.example.org:5000/tagscale', tag='0d40257', digest='')
        >>> Image.of("tagscale").tag
        'latest'

        Raises:
            TagscaleError: not the name of an image.
        """
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise TagscaleError(
                f"{text}: not the name of an image; expected REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:..."
            )
        return cls(match["name"], match["tag"] or LATEST, match["digest"] or "")

    @property
    def is_local(self) -> bool:
        """Whether no other machine pulls it: it has no registry, or one of this machine.

        >>> [Image.of(text).is_local for text in ("tagscale", "localhost:5000/t", "us/tagscale", "ghcr.io/us/t:1")]
        [True, True, False, False]
        """
        registry, slash, _ = self.name.partition("/")
        return not slash or registry.partition(":")[0] in _HERE

    def check_lasting(self) -> None:
        """Raise TagscaleError for a tag that may name another image later: nodes keep the first that they pulled."""
        if self.is_local or self.digest or not (self.tag == LATEST or self.tag.endswith(DIRTY)):
            return
        why = "no commit says what is in it" if self.tag != LATEST else "every push gives it to another image"
        raise TagscaleError(
            f"{self.name}:{self.tag}: a cluster needs a tag that means one image for good, and {why}. Commit, build "
            f"with `make image IMAGE={self.name}`, which tags the image with the commit, and push that tag: "
            f"TAGSCALE_IMAGE={self.name}:$(make -s image-tag)"
        )
