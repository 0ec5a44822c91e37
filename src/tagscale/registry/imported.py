"""Published encoders as versions of the registry, under their own names."""

from typing import Any

from tagscale.models.pretrained import CITATION, LICENCE, LICENCE_NAME, PACKAGE, SHA256, VERSION, Published
from tagscale.registry.card import card_of_encoder, has_card, keep_card
from tagscale.registry.package import register
from tagscale.registry.promote import move
from tagscale.registry.published import HOP_SECONDS, published_tagger
from tagscale.registry.versions import CHAMPION, Registry, Version
from tagscale.runtime.files import sha256_of
from tagscale.runtime.identity import RunIdentity
from tagscale.tracking import find_run, identity_tags
from tagscale.training import checkpoint
from tagscale.training.encoders import pretrained_folder, published

EXPERIMENT = "published-encoders"
WEIGHTS = "tagscale.weights_sha256"  # a version's tag, as of trained runs


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
    if not has_card(version):
        keep_card(registry, version, card_of_encoder(facts, tagger, version))
    return registry.version(version.number), is_new


def _facts(facts: Published) -> dict[str, Any]:
    tags = {"licence": LICENCE_NAME, "citation": CITATION, "trained_on": facts.trained_on, "hop_seconds": HOP_SECONDS}
    tags |= {f"published.{key}": value for key, value in facts.scores.items()}
    return {f"tagscale.{key}": value for key, value in tags.items()}


def _about(facts: Published) -> str:
    scores = ", ".join(f"{key} {value:.4f}" for key, value in facts.scores.items())
    return f"{facts.checkpoint} of {PACKAGE} {VERSION}, trained on {facts.trained_on}. Published: {scores}. {CITATION}"
