"""Published encoders as taggers, from their folder on this machine: without a registry, and without MLflow."""

from dataclasses import replace

from tagscale.registry.scorers.network import NetworkScorer
from tagscale.registry.tagger import AudioTagger
from tagscale.training.encoders import load_encoder, published

RELEASED = "published"  # in place of a version's number, where the registry is not asked
HOP_SECONDS = 3.0  # windows side by side, as the published scores were taken


def published_tagger(model: str) -> AudioTagger:
    """The tagger of a published encoder. Raises TagscaleError where its weights are missing; says how to get them."""
    facts = published(model.replace("-", "_"))
    encoder = load_encoder(facts.name)
    tagger = AudioTagger(NetworkScorer(encoder.tagger, encoder.architecture, HOP_SECONDS), dict(facts.groups))
    return replace(tagger, sha256=tagger.digest())
