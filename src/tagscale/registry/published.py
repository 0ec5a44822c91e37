"""Published encoders as taggers: from their folder on this machine, and as versions of the registry."""

from typing import Any

from tagscale.models.pretrained import (
    CITATION,
    LICENCE,
    LICENCE_NAME,
    PACKAGE,
    SHA256,
    VERSION,
    Published,
    is_published,
)
from tagscale.registry.package import load_version, register
from tagscale.registry.promote import move
from tagscale.registry.scorers.network import NetworkScorer
from tagscale.registry.tagger import AudioTagger, digest_of_folder
from tagscale.registry.versions import CHAMPION, NoSuchModel, Registry, Version
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import sha256_of
from tagscale.runtime.identity import RunIdentity
from tagscale.tracking import find_run, identity_tags
from tagscale.training import checkpoint
from tagscale.training.encoders import load_encoder, pretrained_folder, published

EXPERIMENT = "published-encoders"
RELEASED = "published"  # in place of a version's number, where the registry is not asked
HOP_SECONDS = 3.0  # windows side by side, as the published scores were taken
WEIGHTS = "tagscale.weights_sha256"  # a version's tag, as of trained runs


def published_tagger(model: str) -> AudioTagger:
    """The tagger of a published encoder. Raises TagscaleError where its weights are missing; says how to get them."""
    facts = published(model.replace("-", "_"))
    encoder = load_encoder(facts.name)
    scorer = NetworkScorer(encoder.tagger, encoder.architecture, HOP_SECONDS)
    return AudioTagger(scorer, dict(facts.groups), sha256=digest_of_folder(pretrained_folder() / facts.name))


def load_tagger(model: str, version: str | None = None) -> tuple[AudioTagger, Version]:
    """The tagger of a registered model; of a published encoder also without a registry.

    Args:
        version: number or alias. When not given, a published encoder is read from its folder, any other model's
            champion from the registry.
    Raises:
        TagscaleError: see `published_tagger` and `package.load_version`.
    """
    if version is not None or not is_published(model):
        return load_version(model, version or CHAMPION)
    name = published(model.replace("-", "_")).model
    try:
        return published_tagger(model), Version(name, RELEASED, "", {})
    except TagscaleError as missing:
        try:
            return load_version(name)  # a machine without the folder may have the registry
        except NoSuchModel:
            raise missing from None


def import_encoder(model: str) -> tuple[Version, bool]:
    """Make a published encoder a version of the registered model of its name, and its first champion.

    Returns:
        the version, and whether it is new: the same weights are registered once
    """
    facts, tagger = published(model.replace("-", "_")), published_tagger(model)
    pinned = SHA256[:12]
    identity = RunIdentity(facts.name, "all", 0, PACKAGE, pinned, pinned, pinned)
    weights = sha256_of(pretrained_folder() / facts.name / checkpoint.WEIGHTS)
    marks = identity_tags(identity) | {WEIGHTS: weights}
    registry = Registry.open_or_create(facts.model, f"Music tagger of {PACKAGE} {VERSION}. {CITATION}\n\n{LICENCE}")
    version, is_new = registry.find(marks), False
    if version is None:
        with find_run(EXPERIMENT, identity) as run:
            run.log_metrics({f"published/{key}": value for key, value in facts.scores.items()})
            number = register(registry, run, tagger, facts.name, marks | _facts(facts), _about(facts), tuple(marks))
        version, is_new = registry.version(number), True
    with registry.one_writer():
        if registry.aliases().get(CHAMPION) is None:
            move(registry, "promote", version.number, None, why="the weights as published")
    return version, is_new


def _facts(facts: Published) -> dict[str, Any]:
    tags = {"licence": LICENCE_NAME, "citation": CITATION, "trained_on": facts.trained_on, "hop_seconds": HOP_SECONDS}
    tags |= {f"published.{key}": value for key, value in facts.scores.items()}
    return {f"tagscale.{key}": value for key, value in tags.items()}


def _about(facts: Published) -> str:
    scores = ", ".join(f"{key} {value:.4f}" for key, value in facts.scores.items())
    return f"{facts.checkpoint} of {PACKAGE} {VERSION}, trained on {facts.trained_on}. Published: {scores}. {CITATION}"
