"""The model card of a version: what a person must know before using it, from the files of its study alone.

The form is that of Mitchell et al. 2019, "Model cards for model reporting": intended use, data, evaluation over groups,
limits, and how the model was made. Every sentence states what was computed or set; nothing is written by hand, so that
a card cannot be out of date. MODEL_CARD.md lies among the files of the packaged model. The description of the version,
which MLflow shows on its page, has the beginning of it.
"""

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tagscale import POSITIVE, SAMPLE_RATE, __version__
from tagscale.decoding.formats import FORMATS
from tagscale.evaluation.metrics import ECE, F1, GUESS, METRICS, NOTHING, Metric, main_metric, shown_in
from tagscale.models.pretrained import (
    CITATION,
    ENCODERS,
    LICENCE,
    LICENCE_NAME,
    PACKAGE,
    VERSION,
    Published,
    is_published,
)
from tagscale.models.spec import label_of
from tagscale.params.datasets import DATASETS
from tagscale.registry.cost import cost_words
from tagscale.registry.promote import GATE
from tagscale.registry.scorers import Scorer
from tagscale.registry.scorers.mean import MeanScorer
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.trial import Trial
from tagscale.registry.versions import CHAMPION, Registry, Version
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import RunIdentity
from tagscale.runtime.words import listed
from tagscale.study import listening
from tagscale.study.tables import ResultFacts, read_groups, result_output
from tagscale.tracking import DATA_VERSION, UNPUBLISHED
from tagscale.tracking.versions import SCHEME, version_files
from tagscale.validation.leaks import artist_filtered, crossings

if TYPE_CHECKING:
    from tagscale.models.build import Architecture

CARD = "MODEL_CARD.md"  # the file, at the root of the packaged model
KEPT = "tagscale.card"  # tag of a version that has one: the file's name
LONGEST = 5000  # characters of a version's description: MLflow's column
RARE = 10  # positive tracks of the test part; a score on fewer says little
SHOWN_TAGS = 12  # names in a sentence before "and N more"
WIDE = "\N{EM SPACE}| "
_HEADING = "# Model card: "


@dataclass(frozen=True)
class Card:
    """A model card.

    Attributes:
        title: the model and its version
        sections: heading -> Markdown
    """

    title: str
    sections: dict[str, str]

    @property
    def markdown(self) -> str:
        """All of it: the content of MODEL_CARD.md."""
        parts = [f"{_HEADING}{self.title}"] + [f"## {name}\n\n{text}" for name, text in self.sections.items()]
        return "\n\n".join(parts) + "\n"

    def beginning(self, longest: int) -> str:
        """As many whole sections, in order, as fit into so many characters; those that do not are named.

        For MLflow's page of a version, which leaves no room between the cells of a table: wide spaces do.
        """
        texts = [f"## {name}\n\n{text.replace(' | ', WIDE)}" for name, text in self.sections.items()]
        fitting = [count for count in range(len(texts) + 1) if len(self._first(texts, count)) <= longest]
        return self._first(texts, max(fitting, default=0))

    def _first(self, texts: Sequence[str], count: int) -> str:
        rest = ", ".join(list(self.sections)[count:]).lower()
        elsewhere = [f"**{CARD}** among the files of the model also has: {rest}."] if rest else []
        return "\n\n".join([*texts[:count], *elsewhere])


# --- of a version of a study ---------------------------------------------------------------------------------------


def card_of_run(trial: Trial, tagger: AudioTagger, version: Version) -> Card:
    """The card of a version that a study registered.

    Args:
        trial: the study's data and its candidate, which the version is
        version: with its tags, the gate's decision among them
    """
    _, results = trial.study.folders[trial.chosen.candidate]
    facts = result_output(results).facts(ResultFacts)
    of_tags = _test_tags(trial)
    sections = {
        "Intended use": _use(tagger),
        "Scores on the test part": _scores(trial, facts, results),
        "Limits": _limits(trial, facts, of_tags),
        "Decision of the gate": [version.tags.get(GATE, "not judged yet") + "."],
        "Training data": _data(trial, version),
        "Split": _split(trial),
        "Thresholds and calibration": _decisions(tagger, facts),
        "Cost": [f"{trial.chosen.parameters:,} parameters; {cost_words(version.tags) or 'no time was measured'}."],
        "Made from": _parents(tagger.scorer),
        "Training run": _training(trial, version),
        "How to load": _loading(version.name, version.number),
        "Scores and thresholds by tag": _by_tag(tagger, of_tags),
    }
    return Card(f"{version.name} version {version.number}", _joined(sections))


def _joined(sections: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {name: "\n".join(lines) for name, lines in sections.items() if lines}


def _use(tagger: AudioTagger, shown: int = SHOWN_TAGS) -> list[str]:
    """What it hears and says, and what lies outside; so many tags of each group are shown."""
    scorer, limits = tagger.scorer, tagger.limits
    kinds = pd.Series(tagger.kinds).value_counts(sort=False)
    length, step = scorer.excerpts
    lines = [
        f"- Gives each of {len(tagger.tags)} tags ({_counted(kinds)}) a score in [0, 1], and knows no other tag.",
        f"- Hears mono at {SAMPLE_RATE / 1000:g} kHz, nothing above {SAMPLE_RATE / 2000:g} kHz. Scores are of a whole "
        f"file; over time, of {length:g} s every {step:g} s. A file below {scorer.seconds:g} s: {scorer.shorter}.",
        f"- Reads {', '.join(suffix.lstrip('.') for entry in FORMATS for suffix in entry.suffixes)}. Damaged or silent "
        f"files, and files above {tagger.longest / 60:g} min, are rejected with a reason.",
    ]
    if limits:
        lines.append(
            f"- Trained on files of at least {limits.min_seconds:g} s, louder than {limits.silence_dbfs:g} dBFS, with "
            f"at most {limits.max_clipped:.0%} of the samples clipped and an offset of at most {limits.max_dc:g}. "
            "Others are tagged with a warning."
        )
    groups = pd.Series(tagger.groups, dtype=object).reindex(list(tagger.tags)).fillna("")
    for group, tags in groups.groupby(groups, sort=False):
        lines.append(f"- {_cell(str(group)) or 'without a group'} ({len(tags)}): {_names(tags.index, shown)}.")
    return lines


def _counted(counts: pd.Series) -> str:
    """
    >>> _counted(pd.Series({"genre": 4, "mood": 9}))
    '4 genre and 9 mood'
    """
    return listed([f"{count} {name or 'without a group'}" for name, count in counts.items()])


def _data(trial: Trial, version: Version) -> list[str]:
    catalog, parts = trial.catalog, trial.parts
    facts, identity = DATASETS[catalog.origin[0]], RunIdentity(**trial.chosen.identity)
    left_out = len(catalog.tracks) - len(parts.table)
    published = version.tags.get(DATA_VERSION, UNPUBLISHED)
    lines = [
        f"- **{identity.dataset}**: {facts.title}; data {identity.dataset_hash}, version {published}.",
        f"- {len(parts.table):,} tracks by {parts.table['artist'].nunique():,} artists"
        + (f"; {left_out:,} more of the catalog are quarantined or in no part of the split." if left_out else "."),
        f"- Licence: {facts.licence.rstrip('.')}.",
    ]
    return lines + ([f"- Please cite: {facts.citation}"] if facts.citation else [])


def _split(trial: Trial) -> list[str]:
    """Sizes of the parts, and what crosses from training into the test part; over folds, summed."""
    parts = trial.parts
    of_fold = f" in {parts.folds} folds, each the test part of one model" if parts.folds else ""
    rows = []
    for name in parts.parts:
        tracks = parts.table[parts.table["part"] == name]
        rows.append([name, f"{len(tracks):,}", f"{tracks['artist'].nunique():,}"])
    lines = [
        f"`{parts.split}`{of_fold}; partition {parts.hash}; trained on {trial.chosen.train_tracks:,} tracks.",
        "",
        *table(["part", "tracks", "artists"], rows),
        "",
    ]
    about = trial.catalog.tracks.set_index("track_id").loc[parts.table["track_id"]].reset_index()
    views = [crossings(about.assign(split=view.table["part"].to_numpy())) for view in parts.views().values()]
    for leaks in zip(*views, strict=True):
        kind, known = leaks[0].kind, sum(leak.test_keys for leak in leaks)
        if not known:
            lines.append(f"- The {kind} of no test track is known.")
            continue
        crossing = sum(leak.test_keys_in_train for leak in leaks)
        tracks = sum(leak.test_tracks_by_train for leak in leaks)
        leaked = f", with {tracks:,} of {sum(leak.test_tracks for leak in leaks):,} test tracks" if crossing else ""
        lines.append(f"- {crossing:,} of {known:,} {kind}s of the test part are in the training part too{leaked}.")
        if kind == "artist":
            filtered = all(artist_filtered(list(view)) for view in views)
            lines.append(f"- Artist-filtered: {'yes' if filtered else '**no**, so the scores are too good'}.")
    return lines


def _scores(trial: Trial, facts: ResultFacts, results: Path) -> list[str]:
    """Overall and per group, with intervals over artists."""
    bootstrap = facts.get("bootstrap")
    intervals = facts.get("intervals", {}).get("test", {})
    rows = []
    for metric in shown_in("scores") + shown_in("decisions"):
        values = [facts[part].get(metric.key) for part in ("valid", "test")]
        if all(value is None for value in values):
            continue
        words = [NOTHING if value is None else metric.words(value) for value in values]
        rows.append([metric.label, *words, _interval(intervals.get(metric.key), metric)])
    lines = table(["", "valid", "test", "interval"], rows)
    if bootstrap:
        lines += [
            "",
            f"Intervals of {bootstrap['confidence']:.0%} over {bootstrap['artists']} artists of the test part "
            f"({bootstrap['resamples']:,} resamples). The run was chosen on the validation part.",
        ]
    rows = []
    for row in read_groups(results).to_dict("records"):
        metric = main_metric(row["kind"])
        score, ends = metric.words(row["score"]), _interval([row["low"], row["high"]], metric)
        rows.append([str(row["group"]), f"{row['tags']:.0f}", metric.label, score, ends])
    if rows:
        lines += ["", *table(["group", "tags", "", "test", "interval"], rows)]
    chosen = trial.chosen
    if chosen.baseline:
        value = chosen.baseline_test.get(trial.metric)
        if value is not None:
            metric = METRICS[trial.metric]
            lines += ["", f"The baseline {chosen.baseline}: {metric.label} {metric.words(value)}."]
    return lines


def _test_tags(trial: Trial) -> pd.DataFrame:
    """Of every tag its row of per_tag.csv on the test part, with the artists of its positive tracks there."""
    run = trial.chosen.identity
    rows = trial.study.tags
    cell = np.logical_and.reduce([rows[key].astype(str) == str(run[key]) for key in ("model", "size", "seed")])
    of_tags = rows[cell & (rows["part"] == "test")].set_index("tag").reindex(trial.parts.tags)
    tracks = trial.parts.tracks("test")
    positive = trial.catalog.labels.loc[tracks, trial.parts.tags].to_numpy() >= POSITIVE
    artist = trial.parts.artist_of(tracks)
    behind = [len(np.unique(artist[positive[:, tag]])) for tag in range(positive.shape[1])]
    about = trial.catalog.tags.loc[trial.parts.tags]
    classes = (about["kind"] == "classification").to_numpy()
    counts = {"positive": np.where(classes, positive.sum(axis=0), -1), "behind": np.where(classes, behind, -1)}
    return of_tags.assign(**counts, group=about["group"], kind=about["kind"])


def _limits(trial: Trial, facts: ResultFacts, of_tags: pd.DataFrame) -> list[str]:
    """What the study shows of it beyond its scores."""
    lines = []
    classes = of_tags[of_tags["kind"] == "classification"]
    none, lone = classes[classes["positive"] == 0], classes[classes["behind"] == 1]
    rare = classes[(classes["positive"] > 0) & (classes["positive"] < RARE)]
    if len(rare):
        lines.append(f"- {_tags(rare)} fewer than {RARE} positive test tracks: {_names(rare.index)}.")
    if len(lone):
        lines.append(f"- {_tags(lone)} all positive test tracks from one artist: {_names(lone.index)}.")
    if len(none):
        lines.append(f"- {_tags(none)} no positive test track, so nothing is known: {_names(none.index)}.")
    unscored = facts["unscored"].get("test", {})
    if strangers := [tag for tag in unscored if tag not in none.index]:
        lines.append(f"- Not scored on the test part: {_names(strangers)}.")
    lines += _listening(trial, list(classes.index), of_tags)
    return lines or ["- None of those that are looked for: rare tags, tags by one artist, bias, exclusive tags."]


def _tags(rows: pd.DataFrame) -> str:
    return f"{len(rows)} tag{'s have' if len(rows) > 1 else ' has'}"


def _listening(trial: Trial, names: list[str], of_tags: pd.DataFrame) -> list[str]:
    """Bias towards popular tags, and tags that exclude each other predicted together, as the study counts them."""
    if not names:
        return []
    parts, labels = trial.parts, trial.catalog.labels[names]
    trained = [view.training_subset(trial.chosen.identity["size"]) for view in parts.views().values()]
    train = np.mean([listening.shares(labels.loc[tracks].to_numpy()) for tracks in trained], axis=0)
    truth = {part: labels.loc[parts.tracks(part)].to_numpy() for part in ("valid", "test")}
    scores = {part: trial.candidate.scores(part)[names].to_numpy() for part in truth}
    precision, guessed = of_tags.loc[names, ["pr_auc", GUESS]].to_numpy(float).T
    popular = listening.popularity(train, truth["test"], scores["test"], precision, guessed)
    lines = []
    if not np.isnan(popular.tenth_true):
        most = _names([names[tag] for tag in np.flatnonzero(popular.tenth)])
        lines.append(
            f"- Popular tags: the most popular tenth ({most}) has {popular.tenth_true:.0%} of the true tags of the "
            f"test tracks and {popular.tenth_picked:.0%} of those that the model picks."
        )
    sets = [str(name) for name in trial.catalog.tags.loc[names, "exclusive"]]
    if len(listening.pairs_of(sets)):
        limits = listening.thresholds(truth["valid"], scores["valid"])
        together = listening.exclusive(truth["test"], scores["test"], limits, sets)
        if not np.isnan(together.share):
            lines.append(
                f"- Tags that exclude each other: predicted together on {together.share:.1%} of the test tracks; "
                f"{together.share_expected:.1%} if tags were independent, {together.share_labelled:.1%} in the labels."
            )
    return lines


def _decisions(tagger: AudioTagger, facts: ResultFacts) -> list[str]:
    decisions = tagger.decisions
    if decisions is None:
        return _no_decisions()
    never = [tag for tag, one in decisions.tags.items() if one.threshold is None]
    curves = pd.Series([type(one.calibration).__name__.lower() for one in decisions.tags.values()]).value_counts()
    lines = [
        f"- Learned on the validation part: {_counted(curves)} calibrations, and a threshold for each tag; the table "
        "below has them."
    ]
    for metric in (F1, ECE):
        value = facts["test"].get(metric.key)
        if value is not None:
            lines.append(f"- {metric.label} on the test part: {metric.words(value)}. {metric.meaning}")
    return lines + ([f"- Never decided, for no threshold is precise enough: {_names(never)}."] if never else [])


def _no_decisions() -> list[str]:
    return ["None: scores rank the tags of a file, and are no probabilities."]


def _parents(scorer: Scorer, indent: str = "") -> list[str]:
    """The models that it is made of, nested as they are; of a published encoder its licence and citation."""
    if isinstance(scorer, MeanScorer):
        lines = [f"{indent}- {scorer.kind} of {len(scorer.members)}"]
        for (name, member), about in zip(scorer.members.items(), scorer.facts()["members"], strict=True):
            weights = about.get("weights") or {"": about["weight"]}  # of an ensemble by kind of tags
            words = ", ".join(f"{weight:.3g} {kind}".strip() for kind, weight in weights.items())
            first, *rest = _parents(member, f"{indent}  ")
            lines += [f"{indent}  - {_cell(name)} (weight {words}): {first.lstrip(' -')}", *rest]
        return lines
    if scorer.kind != "network":
        return [f"{indent}- gradient-boosted trees on descriptors of timbre, rhythm and harmony"]
    architecture: Architecture = scorer.architecture  # type: ignore[attr-defined]  # of a network
    capacity = ", ".join(f"{key} {value}" for key, value in architecture.capacity.items())
    line = f"{indent}- {label_of(architecture.model)} ({capacity}), patches of {architecture.patch_seconds:g} s"
    encoder = architecture.capacity.get("encoder")
    return [line + (f"; encoder {_origin(ENCODERS[encoder])}" if encoder else "")]


def _origin(encoder: Published) -> str:
    return (
        f"{encoder.checkpoint} of {PACKAGE} {VERSION}, trained on {encoder.trained_on}; licence {LICENCE_NAME}; please "
        f"cite: {CITATION}"
    )


def _training(trial: Trial, version: Version) -> list[str]:
    identity = RunIdentity(**trial.chosen.identity)
    rows = {
        "run": identity.name,
        "run in MLflow": version.run_id,
        "git commit": version.tags.get("tagscale.git_commit", "unknown"),
        "data": identity.dataset_hash,
        "partition": identity.partition_hash,
        "settings": identity.settings_hash,
        "SHA-256 of what it learned": trial.chosen.weights_sha256,
        "tagscale": __version__,
    }
    return [*table(["", ""], [[key, f"`{value}`"] for key, value in rows.items()])]


def _loading(name: str, number: str) -> list[str]:
    return [
        "```python",
        "import tagscale",
        "",
        f'tagger = tagscale.load("{name}/{number}")',
        'tagger.tag("song.mp3").top(5)',
        "```",
        "",
        f'Or `mlflow.pyfunc.load_model("models:/{name}/{number}")`: a column `audio` with bytes of files.',
    ]


def _loading_encoder(encoder: Published) -> list[str]:
    return ["```python", "import tagscale", "", f'tagger = tagscale.load("{encoder.model}")', "```"]


def _by_tag(tagger: AudioTagger, of_tags: pd.DataFrame) -> list[str]:
    """A row a tag: its main metric with its interval, and its threshold with what it does on the test part."""
    rows = []
    for tag, row in of_tags.iterrows():
        metric = main_metric(row["kind"])
        decision = tagger.decisions.tags.get(str(tag)) if tagger.decisions else None
        threshold = NOTHING if decision is None or decision.threshold is None else f"{decision.threshold:.3f}"
        positive = NOTHING if row["positive"] < 0 else str(row["positive"])
        numbers = [positive, metric.label, metric.words(row[metric.key])]
        ends = _interval([row[f"{metric.key}_low"], row[f"{metric.key}_high"]], metric)
        shares = [row.get(key, np.nan) for key in ("precision", "recall")]
        rates = [NOTHING if pd.isna(rate) else f"{rate:.2f}" for rate in shares]
        rows.append([_cell(str(tag)), _cell(row["group"]), *numbers, ends, threshold, *rates])
    return table(["tag", "group", "positive", "", "test", "interval", "threshold", "precision", "recall"], rows)


# --- of a published encoder ----------------------------------------------------------------------------------------


def card_of_encoder(encoder: Published, tagger: AudioTagger, version: Version) -> Card:
    """The card of a published encoder, from the facts that are published with it."""
    rows = [[METRICS[key].label, f"{value:.4f}"] for key, value in encoder.scores.items()]
    sections = {
        "Intended use": _use(tagger, len(tagger.tags)),
        "Scores as published": [
            *table(["", "test part"], rows),
            "",
            f"On the test part of {encoder.trained_on}. Nothing was evaluated here.",
        ],
        "Limits": ["- Not known here: scores by tag, intervals, bias towards popular tags."],
        "Training data": [f"{encoder.trained_on}. Music of it is no fair test for this model."],
        "Thresholds and calibration": _no_decisions(),
        "Cost": [f"{cost_words(version.tags)}."] if cost_words(version.tags) else [],
        "Made from": [f"- {_origin(encoder)}"],
        "Licence": [LICENCE.strip()],
        "How to load": _loading(version.name, version.number) if version.run_id else _loading_encoder(encoder),
    }
    return Card(f"{version.name} {version.number}", _joined(sections))


# --- where it is kept ----------------------------------------------------------------------------------------------


def keep_card(registry: Registry, version: Version, card: Card) -> None:
    """Put MODEL_CARD.md among the files of a version, and the beginning of it into the version's description.

    What the description says before the card stays.
    """
    with registry.explained():
        made = registry.client.get_model_version(version.name, version.number)
        lead = (made.description or "").split("\n\n## ")[0]
        rest = card.beginning(LONGEST - len(lead) - 2)
        registry.client.update_model_version(version.name, version.number, f"{lead}\n\n{rest}".strip())
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / CARD
            file.write_text(card.markdown, encoding="utf-8")
            registry.client.log_model_artifact(made.source.removeprefix(SCHEME), str(file))
    registry.tag(version.number, {KEPT: CARD})


def has_card(version: Version) -> bool:
    """Whether a version has a card; none where its registration was interrupted."""
    return KEPT in version.tags


def card_text(model: str, version: str | None = None) -> str:
    """The Markdown of a version's card; of a published encoder also without a registry.

    Args:
        version: number or alias; when not given, a model's champion, and a published encoder as it is on this machine
    Raises:
        TagscaleError: no such model or version, it has no card, or its files are out of reach.
    """
    if version is None and is_published(model):
        from tagscale.registry.published import RELEASED, published_tagger  # here: it loads torch

        encoder = ENCODERS[model.replace("-", "_")]
        released = Version(encoder.model, RELEASED, "", {})
        return card_of_encoder(encoder, published_tagger(model), released).markdown
    registry = Registry.open(model)
    registered = registry.version(version or CHAMPION)
    if not has_card(registered):
        raise TagscaleError(
            f"Version {registered.number} of {model!r} has no model card: its registration was interrupted. Where its "
            "run is at hand, `tagscale register` writes one."
        )
    with tempfile.TemporaryDirectory() as folder:
        file = version_files(registry.client, model, registered.number, Path(folder), CARD)
        return file.read_text(encoding="utf-8")


# --- Markdown ------------------------------------------------------------------------------------------------------


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown, a line each."""
    return [f"| {' | '.join(row)} |" for row in (heading, ["---"] * len(heading), *rows)]


def _cell(text: str) -> str:
    r"""A name of the data as Markdown prints it, whatever signs are in it.

    >>> print(_cell("a|b"), _cell("*new*"), _cell("male_vocals"))
    a\|b \*new\* male_vocals
    """
    return re.sub(r"([\\`*<>|\[\]])", r"\\\1", " ".join(text.split()))


def _interval(ends: Sequence[float | None] | None, metric: Metric) -> str:
    low, high = ends or (None, None)
    if low is None or high is None or np.isnan(low) or np.isnan(high):
        return NOTHING
    return f"{metric.words(low)} to {metric.words(high)}"


def _names(names: Iterable[str], shown: int = SHOWN_TAGS) -> str:
    """Names in a sentence, the first of many.

    >>> _names(["a", "b"]), _names(map(str, range(14)))
    ('a, b', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more')
    """
    all_of = [_cell(str(name)) for name in names]
    more = len(all_of) - shown
    return ", ".join(all_of[:shown]) + (f" and {more} more" if more > 0 else "")
