"""A tagger as ONNX files: one a network, each with all that a program without tagscale must know to tag with it.

What the program must know is JSON in the file's metadata (`facts_of`); docs/export.md has such a program. Networks of
an ensemble are exported one by one, since each has a window of its own and they are pooled after their windows. Trees
hear descriptors, which no graph here computes: they are not exported.
"""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagscale.evaluation.decisions import TINY
from tagscale.models.build import shortest_samples
from tagscale.models.pretrained import CITATION, LICENCE, LICENCE_NAME
from tagscale.models.spec import ENCODER_NETWORKS
from tagscale.registry.scorers import Scorer
from tagscale.registry.scorers.ensemble import EnsembleScorer
from tagscale.registry.scorers.mean import MeanScorer
from tagscale.registry.tagger import AudioTagger
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing

if TYPE_CHECKING:
    from tagscale.registry.scorers.network import NetworkScorer

FORMAT = 1  # of the metadata
PACKAGES = ("onnx", "onnxscript")  # of the extra `export`
NO_TREES = "Trees are not exported: they hear descriptors, for which ONNX has no operators."


def export(tagger: AudioTagger, file: Path, about: Mapping[str, Any], member: str | None = None) -> dict[Path, str]:
    """Write the tagger's network to a file; of an ensemble of networks each to a file of its own beside it.

    Args:
        file: such as tagger.onnx; members go to tagger.NAME.onnx
        about: model, version and whatever else the metadata shall say
        member: of an ensemble, the one network to export, to `file` itself
    Returns:
        file -> name of the member, "" for the tagger itself
    Raises:
        TagscaleError: trees among the members, no such member, or a package is missing.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise TagscaleError(f"An export needs {' and '.join(missing)}: pip install 'tagscale[export]'.")
    members = members_of(tagger.scorer)
    chosen = {file.with_name(f"{file.stem}.{name.replace('/', '.')}{file.suffix}"): name for name in members}
    if len(members) == 1 or member is not None:
        chosen = {file: _member(members, member)}
    elif any(scorer.kind != "network" for scorer in members.values()):
        listed = ", ".join(f"{name} ({scorer.kind})" for name, scorer in members.items())
        raise TagscaleError(f"This tagger is an ensemble of {listed}. {NO_TREES} {_choice(members)}")
    for path, name in chosen.items():
        _write(path, members[name], facts_of(tagger, name) | dict(about))
    return chosen


def members_of(scorer: Scorer, name: str = "") -> dict[str, Scorer]:
    """The scorers of a single kind within a scorer, by their names: member/fold-1 of an ensemble of folds."""
    if not isinstance(scorer, MeanScorer):
        return {name: scorer}
    inner = (members_of(member, f"{name}/{own}".lstrip("/")) for own, member in scorer.members.items())
    return {path: leaf for leaves in inner for path, leaf in leaves.items()}


def facts_of(tagger: AudioTagger, member: str = "") -> dict[str, Any]:
    """What a program must know of an exported network; decisions only where it is the tagger's only one.

    format: of these facts. sample_rate: Hz of `wave`, mono, in [-1, 1]. window_samples, hop_samples: the moving window;
    a song's scores are the means of the outputs over its windows, of which the last ends where the song ends, and a
    shorter song is repeated until it fills one. shortest_samples, longest_samples: what the graph takes. tags, kinds,
    groups: of the outputs, in order. thresholds, calibrations: by tag, as in decisions.json. sha256: of the tagger's
    files. member, pooling: of an ensemble, this network's name, and how all members' scores become the tagger's.
    """
    from tagscale.models.export import longest_samples  # here: it loads torch, as networks do

    scorer = _network(members_of(tagger.scorer)[member])
    architecture, rate = scorer.architecture, scorer.architecture.sample_rate
    decisions = tagger.decisions.tags if tagger.decisions and not member else {}
    encoder = architecture.model in ENCODER_NETWORKS or "encoder" in architecture.capacity
    facts = {
        "format": FORMAT,
        "sample_rate": rate,
        "window_samples": round(scorer.seconds * rate),
        "hop_samples": max(1, round(scorer.hop_seconds * rate)),
        "shortest_samples": shortest_samples(architecture),
        "longest_samples": longest_samples(architecture),
        "tags": list(tagger.tags),
        "kinds": list(scorer.kinds),
        "groups": tagger.groups,
        "thresholds": {tag: one.threshold for tag, one in decisions.items()},
        "calibrations": {tag: one.calibration.model_dump() for tag, one in decisions.items()},
        "network": architecture.model,
        "sha256": tagger.sha256,
    }
    if member:
        facts |= {"member": member, "pooling": pooling_of(tagger.scorer)}
    if encoder:
        facts |= {"licence_name": LICENCE_NAME, "licence": LICENCE, "citation": CITATION}
    return facts


def pooling_of(scorer: Scorer) -> dict[str, Any]:
    """How the scores of members become those of an ensemble, or of a mean; nothing for other scorers."""
    if isinstance(scorer, EnsembleScorer):
        odds = f"log((score + {TINY:g}) / (1 - score + {TINY:g}))"
        rule = f"sigmoid of the weighted mean of {odds}; for regression tags the weighted mean of scores"
    elif isinstance(scorer, MeanScorer):
        rule = "weighted mean of scores"
    else:
        return {}
    inner = {name: pooling_of(member) for name, member in scorer.members.items() if isinstance(member, MeanScorer)}
    return {"rule": rule} | scorer.facts() | ({"within": inner} if inner else {})


def _member(members: Mapping[str, Scorer], member: str | None) -> str:
    name = next(iter(members)) if member is None else member
    if name not in members:
        raise TagscaleError(f"--member: found {name!r}. {_choice(members)}")
    if members[name].kind != "network":
        subject = f"The member {name}" if name else "This tagger"
        raise TagscaleError(f"{subject} is made of trees. {NO_TREES}")
    return name


def _choice(members: Mapping[str, Scorer]) -> str:
    networks = [name for name, scorer in members.items() if scorer.kind == "network"]
    if not any(networks):
        return "This tagger is no ensemble: leave it out."
    return f"`--member NAME` exports one network: {', '.join(networks)}."


def _network(scorer: Scorer) -> "NetworkScorer":
    from tagscale.registry.scorers.network import NetworkScorer  # here: it loads torch, which trees do without

    assert isinstance(scorer, NetworkScorer)
    return scorer


def _write(path: Path, scorer: Scorer, facts: Mapping[str, Any]) -> None:
    import onnx

    from tagscale.models.export import to_onnx

    network = _network(scorer)
    proto = to_onnx(network.model, network.architecture)
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in facts.items()})
    with replacing(path) as fresh:
        fresh.write_bytes(proto.SerializeToString())
