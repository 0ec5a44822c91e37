"""The trial: the candidate beside the champion, and beside the models of its floor, on the present test part.

The champion's scores are those that were evaluated where it was registered on the same labels, tracks and window;
otherwise it scores the present tracks again, as it tags. Candidate and champion are compared over the tags that both
have, with one kind.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from tagscale import POSITIVE
from tagscale.catalog.tables import Catalog
from tagscale.evaluation.bootstrap import Resampled
from tagscale.evaluation.calibration import learn, learn_without
from tagscale.evaluation.decisions import Decisions, OfFolds, OfTags
from tagscale.evaluation.metrics import METRICS
from tagscale.models.spec import label_of, role_of
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.registry.candidate import Candidate
from tagscale.registry.folds import folds_of, predict_held_out
from tagscale.registry.gate import BASELINE, CONSTANT
from tagscale.registry.looks import JudgedPart
from tagscale.registry.package import load_version
from tagscale.registry.paired import Gap, Paired, Tracks, power
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.versions import Version
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import run_name
from tagscale.runtime.words import counted
from tagscale.store.read import Store
from tagscale.study.grid import Study, best_run
from tagscale.study.tables import read_decisions, read_predictions
from tagscale.tracking import connect

SAME_TEST = ("tagscale.partition_hash", "tagscale.dataset_hash", "tagscale.hop_seconds")
FOLDS = "tagscale.folds"  # hash of the settings of a partition in folds; missing without folds
WINDOW = "tagscale.window_seconds"  # "None" or a missing tag: the length of the model's own patches
EVALUATED = "evaluation"  # folder of a run's artifacts, with the results that its version was registered with
MOST_BYTES = 64 << 20  # of predictions that are kept there; with more, a champion is scored again
GAINS = (0.01, 0.02, 0.05)  # true gains whose chance to pass is foretold; of non_inferior 0, too


@dataclass(frozen=True)
class Model:
    """A model in the trial.

    scores: gives the scores of the tracks of valid or test: (tracks, tags), in the partition's order
    kinds: tag -> classification | regression
    in_folds: whether, in folds, each of its models scores its own one, and so decides by what the others teach; its
        decisions themselves are for the mean of them
    """

    words: str
    scores: Callable[[str], pd.DataFrame]
    decisions: Decisions | None
    kinds: Mapping[str, str]
    in_folds: bool = False


class CannotBeScored(TagscaleError):
    """Why the champion has no scores on the present test part."""


class Trial:
    """The present data, and the models that the gate compares on them.

    Args:
        catalog, partition, store: what the stages of these names wrote
        chosen, study: the candidate, and the study that it is from
    """

    def __init__(
        self, params: Params, catalog: Path, partition: Path, store: Path | str, chosen: Candidate, study: Study
    ) -> None:
        self.params, self.chosen, self.study, self._store = params, chosen, study, store
        self.catalog, self.parts = Catalog.load(catalog), Partition.load(partition)
        self.kinds: dict[str, str] = {tag: str(self.catalog.tags.loc[tag, "kind"]) for tag in self.parts.tags}
        self.candidate = self._of_run(chosen.candidate, "the candidate")
        self._scored: dict[tuple[str, ...], Resampled] = {}

    @property
    def metric(self) -> str:
        return self.params.registry.metric

    @cached_property
    def part(self) -> JudgedPart:
        """The test part as the looks know it."""
        tracks = self.parts.tracks("test")
        return JudgedPart.of(tracks, self.catalog.labels.loc[tracks, self.parts.tags])

    def compare(self, other: Model, part: str) -> Paired:
        """The candidate and another model on valid or test, over the tags that both have."""
        tags = [tag for tag in self.parts.tags if other.kinds.get(tag) == self.kinds[tag]]
        tracks = Tracks.of(self.catalog, self.parts, part, tags)
        key = (part, *tags)
        if key not in self._scored:
            self._scored[key] = self._score(tracks, self.candidate, part)
        return Paired(tracks, self._scored[key], self._score(tracks, other, part))

    def check_settings(self) -> None:
        """Raise a TagscaleError unless the gate's names are those of tags, groups and models."""
        for name in self.params.registry.gate.floor:
            if name not in (BASELINE, CONSTANT):
                self._named(name)
        known = {*self.kinds, *self.catalog.tags.loc[self.parts.tags, "group"]}
        for name in self.params.registry.gate.guard:
            if name not in known:
                groups = ", ".join(dict.fromkeys(self.catalog.tags.loc[self.parts.tags, "group"]))
                raise TagscaleError(
                    f"registry.gate.guard: found {name!r}, expected a group ({groups}) or a tag of the partition. "
                    "Correct params.yaml."
                )

    def guarded(self, name: str) -> list[str]:
        """The tags that a guarded name stands for: a group's, or the tag alone."""
        groups = self.catalog.tags.loc[self.parts.tags, "group"]
        return [str(tag) for tag in groups.index[groups == name]] or [name]

    def floor(self, name: str) -> Model | str | None:
        """The model of the floor; why there is none; or None where it is the candidate itself.

        Raises:
            TagscaleError: a name that no model of the study has.
        """
        if name == CONSTANT:
            return Model("the constant", self._constant, None, self.kinds)
        best = self.floor_run(name)
        if best is None:
            key = "train.baselines" if name == BASELINE else "train"
            return f"the study has none ({key}): train it, or take it out of registry.gate.floor"
        run = run_name(best["model"], best["size"], best["seed"])
        return None if run == self.chosen.candidate else self._of_run(run, f"{label_of(best['model'])} ({run})")

    def floor_run(self, name: str) -> dict[str, Any] | None:
        """The row of the run that a name in registry.gate.floor stands for; None where the study has none.

        Raises:
            TagscaleError: a name that no model of the study has.
        """
        models = [] if name == CONSTANT else self._named(name)
        return best_run(self.study.runs, [model for model in models if model in self.study.everyone], self.metric)

    def _named(self, name: str) -> list[str]:
        """The models of params.yaml that a name in registry.gate.floor stands for."""
        grid = self.params.train
        if name == BASELINE:
            of_role = [model for model in self.study.everyone if role_of(model) == "descriptors"]
            return of_role or list(grid.baselines)
        blocks = self.params.model.model_dump()
        models = [
            model
            for model in grid.everyone
            if model == name or (blocks.get(model) or {}).get("encoder") == name.replace("-", "_")
        ]
        if not models:
            raise TagscaleError(
                f"registry.gate.floor: found {name!r}, expected {BASELINE}, {CONSTANT}, a model of the study "
                f"({', '.join(grid.everyone)}) or the encoder of one. Correct params.yaml."
            )
        return models

    def runner_up(self) -> Model | None:
        """The second best run on the validation part, whose difference to the candidate shows what a part can see."""
        names = [run_name(*cell) for cell in self.study.runs[["model", "size", "seed"]].itertuples(index=False)]
        others = self.study.runs[[name != self.chosen.candidate for name in names]]
        best = best_run(others, self.study.everyone, self.metric)
        return None if best is None else self._of_run(run_name(best["model"], best["size"], best["seed"]), "")

    def champion(self, champion: Version, candidate: Version) -> tuple[Model, AudioTagger, list[str]]:
        """The champion, its tagger, and what must be known of its scores.

        Raises:
            CannotBeScored: it cannot be read, its models may have learned from the test tracks, or it has other tags.
        """
        try:
            tagger, _ = load_version(champion.name, champion.number)
        except TagscaleError as error:
            raise CannotBeScored(f"the champion, version {champion.number}, cannot be scored: {error}") from None
        by_hand = f"`tagscale promote {candidate.number} --force --why TEXT` decides by hand"
        folds = folds_of(tagger.scorer)
        same_folds = candidate.tags.get(FOLDS) == champion.tags.get(FOLDS) is not None
        if folds and not (same_folds and folds == self.parts.folds):
            present = f"in {self.parts.folds} folds of other settings" if self.parts.folds else "not in folds"
            raise CannotBeScored(
                f"the champion is the mean of {folds} models, a fold each, and the present partition is {present}: its "
                f"models may have learned from the test tracks, so it is not scored; {by_hand}"
            )
        shared = [tag for tag in self.parts.tags if tagger.kinds.get(tag) == self.kinds[tag]]
        if not shared:
            raise CannotBeScored(f"the champion was trained for other tags, none of them shared; {by_hand}")
        same = same_test(candidate.tags, champion.tags)
        kept = _evaluated(champion) if same else None
        new = len(self.parts.tags) - len(shared)
        notes = [f"compared without {counted(new, 'tag')} that the champion does not have"] if new else []
        if kept is None:
            origin = "" if same else "comes from another partition and "
            doubt = "" if same or folds else ", perhaps on tracks that it learned from"
            doubt = ", each track by its model of that fold" if folds else doubt
            notes.append(f"the champion {origin}was scored again{doubt}")
        scores = self._own_scores(tagger) if kept is None else self._rows_of(*kept)
        return Model("the champion", scores, tagger.decisions, tagger.kinds, folds > 0), tagger, notes

    def artists(self, part: str) -> int:
        return int(self.parts.artist_of(self.parts.tracks(part)).max(initial=-1)) + 1

    def facts(self, lone: Sequence[str] | None) -> dict[str, Any]:
        """Of the test part, for the verdict: its size, and the tags that are left out of the comparison."""
        facts = {"hash": self.part.hash, "tracks": len(self.parts.tracks("test")), "artists": self.artists("test")}
        return facts | {"tags": len(self.parts.tags), "lone": list(lone or ())}

    def foresight(self, level: float, gap: Gap | None, part: str, where: str) -> dict[str, Any]:
        """The chances of true gains to pass in one look at the test part; {} where nothing tells.

        Args:
            gap: a difference on valid or test, whose error is known
            where: what its error is of, in words
        """
        here = self.artists("test")
        if gap is None or gap.error == 0 or here < 2:
            return {}
        error = gap.error * float(np.sqrt(self.artists(part) / here))  # of a mean, as the root of the artists
        bar, degrees = self.params.registry.gate.bar, min(gap.degrees, here - 1)
        metric = METRICS[gap.metric]
        room = metric.sign * (metric.best - gap.other)  # no gain leads beyond perfect
        gains = [gain for gain in ((0.0, *GAINS) if bar < 0 else GAINS) if gain <= room]
        chances = {f"{gain:g}": round(power(gain - bar, error, degrees, level), 4) for gain in gains}
        return {"artists": here, "error": round(error, 6), "level": level, "chances": chances, "from": where}

    def _of_run(self, run: str, words: str) -> Model:
        """A run of the study; its scores are read where they are asked for."""
        _, results = self.study.folders[run]
        decisions = read_decisions(results)
        return Model(words, lambda part: self._rows_of(*read_predictions(results))(part), decisions, self.kinds, True)

    def _score(self, tracks: Tracks, model: Model, part: str) -> Resampled:
        """All metrics of a model, as its report has them: in folds, test tracks are decided without their labels."""
        decisions: OfTags | OfFolds | None = model.decisions.of(tracks.tags) if model.decisions else None
        if decisions and self.parts.folds and model.in_folds:
            tags, valid = self.parts.tags, Tracks.of(self.catalog, self.parts, "valid", self.parts.tags)
            known = valid.labels, model.scores("valid")[tags].to_numpy(), valid.regression, tags
            rule, places = self.params.evaluate.thresholds, [tags.index(tag) for tag in tracks.tags]
            if part == "valid":
                decisions = learn(*known, rule).of(tracks.tags)
            else:
                of_folds = learn_without(*known, rule, valid.fold)
                decisions = {number: [of_fold[place] for place in places] for number, of_fold in of_folds.items()}
        return tracks.score(model.scores(part)[list(tracks.tags)].to_numpy(), decisions)

    def _rows_of(self, of_part: pd.Series, scores: pd.DataFrame) -> Callable[[str], pd.DataFrame]:
        return lambda part: scores[(of_part == part).to_numpy()].loc[self.parts.tracks(part)]

    def _own_scores(self, tagger: AudioTagger) -> Callable[[str], pd.DataFrame]:
        @cache
        def scores(part: str) -> pd.DataFrame:
            fold_of = {track: name for name, view in self.parts.views().items() for track in view.tracks(part)}
            tracks = self.parts.tracks(part)
            index = pd.Index(tracks, name="track_id")
            return predict_held_out(
                tagger.scorer, Store.open(self._store), pd.Series([fold_of[track] for track in tracks], index)
            )

        return scores

    def _constant(self, part: str) -> pd.DataFrame:
        """Every tag's mean over the training tracks: its share of positives, or its mean value."""
        rows = []
        for view in self.parts.views().values():
            labels = self.catalog.labels.loc[view.tracks("train"), self.parts.tags]
            classes = [tag for tag in self.parts.tags if self.kinds[tag] == "classification"]
            labels[classes] = (labels[classes] >= POSITIVE).where(labels[classes].notna()).astype(float)
            tracks = view.tracks(part)
            means = np.broadcast_to(labels.mean().fillna(0.5).to_numpy(), (len(tracks), len(self.parts.tags)))
            rows.append(pd.DataFrame(means, index=tracks, columns=self.parts.tags))
        return pd.concat(rows).loc[self.parts.tracks(part)]


def same_test(candidate: Mapping[str, str], champion: Mapping[str, str]) -> bool:
    """Whether the results of two versions, given by their tags, are of the same labels, tracks and window."""
    alike = candidate.get(WINDOW, "None") == champion.get(WINDOW, "None")
    return alike and all(candidate.get(key) == champion.get(key) is not None for key in SAME_TEST)


def _evaluated(version: Version) -> tuple[pd.Series, pd.DataFrame] | None:
    """The predictions that a version was registered with; None where they are not kept with its run."""
    with tempfile.TemporaryDirectory() as temporary:
        try:
            folder = connect().download_artifacts(version.run_id, EVALUATED, temporary)
            return read_predictions(Path(folder))
        except (MlflowException, OSError, TagscaleError):
            return None  # too large, or deleted: the champion scores the tracks itself


def kept_files(results: Path) -> Sequence[Path]:
    """The files of a run's results that its version keeps, for the gate of later nights."""
    files = [results / "metrics.json", results / "predictions.parquet"]
    return files if files[1].exists() and files[1].stat().st_size <= MOST_BYTES else []
