"""The study's predictions as the paper listened to them: listening.py for every run, as tables and words.

All numbers are of the largest training size and the test part, means over seeds, without the regression tags.
Source: Pons et al. 2018, section 5.1, "Qualitative results".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tagscale.catalog.tables import Catalog
from tagscale.evaluation.bootstrap import two_sided
from tagscale.evaluation.metrics import GUESS, PARTS, PR_AUC
from tagscale.evaluation.two_samples import variance_of_mean
from tagscale.models.spec import label_of
from tagscale.partition.divide import Partition
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import run_name
from tagscale.runtime.words import at_start, counted, listed
from tagscale.study import listening
from tagscale.study.grid import Study
from tagscale.study.tables import ResultFacts, read_predictions, result_output

CHANCE = 0.05  # a difference of two shares with a larger p-value may be chance


@dataclass(frozen=True)
class Qualitative:
    """Tables of popularity.csv, exclusive.csv and listening.csv.

    tags: one row a model and classification tag: model, tag, group, train_share, true and picked (tracks of the test
        part), ratio, mean_score, pr_auc, lift, third (popular, middle, rare or empty), tenth (whether most popular).
    pairs: one row a model and pair of exclusive tags: model, set, first, second, tracks (annotated with both),
        predicted, expected (were tags independent), labelled: tracks that have both.
    models: one row a model: tracks (of the test part), tags (how many, `tenth` of them most popular), correlation,
        tenth_picked, tenth_true, lift_popular, lift_middle, lift_rare, impossible (share of tracks with at least one
        pair), impossible_expected, impossible_labelled, pairs, pairs_labelled (a track).
    confusion: one row a model and two tags of a set, the true one and the chosen one: model, set, true, chosen, tracks.
    together: one row a track of the test part, one column a model: how many of its seeds predict a pair, as a share;
        NaN where no pair is annotated.
    artist: number of the artist of each of these tracks.
    """

    tags: pd.DataFrame
    pairs: pd.DataFrame
    models: pd.DataFrame
    confusion: pd.DataFrame = field(default_factory=pd.DataFrame)
    together: pd.DataFrame = field(default_factory=pd.DataFrame)
    artist: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

    def by_model(self) -> dict[str, dict[Any, Any]]:
        """The rows of `models`."""
        return {row["model"]: row for row in self.models.to_dict("records")}


def qualitative(study: Study, partition: Partition, catalog: Catalog, results: Sequence[Path]) -> Qualitative | None:
    """Analyse the predictions of every run of the largest size; None where there is no classification tag.

    Raises:
        TagscaleError: the catalog lacks tracks or tags of the partition; a run's predictions are missing or belong to
            other tracks or tags. Says what to run.
    """
    size = study.largest
    _check_catalog(partition, catalog)
    about = catalog.tags.loc[partition.tags]
    about = about[about["kind"] == "classification"]
    if about.empty:
        return None
    names = list(about.index)
    trained = [view.training_subset(size) for view in partition.views().values()]  # of each fold, where there are any
    train = np.mean([listening.shares(catalog.labels.loc[tracks, names].to_numpy()) for tracks in trained], axis=0)
    labels = {part: catalog.labels.loc[partition.tracks(part), names].to_numpy() for part in PARTS}
    sets = [str(name) for name in about["exclusive"]]
    files = _predictions(results)
    tags, pairs, models, confusion = [], [], [], []
    of_tracks: dict[str, list[np.ndarray]] = {model: [] for model in study.everyone}
    for model in study.everyone:
        for seed in study.seeds:
            scores = _read(files, run_name(model, size, seed), partition, names)
            precision, guessed = _precision(study, model, size, seed, names)
            popular = listening.popularity(train, labels["test"], scores["test"], precision, guessed)
            limits = listening.thresholds(labels["valid"], scores["valid"])
            together = listening.exclusive(labels["test"], scores["test"], limits, sets)
            of_tracks[model].append(together.together)
            tags.append(_tag_rows(popular, about["group"], train, precision).assign(model=model))
            pairs.append(_pair_rows(together, names, sets).assign(model=model))
            confusion.append(_confusion_rows(labels["test"], scores["test"], names, sets).assign(model=model))
            models.append({"model": model, "tracks": len(labels["test"])} | _model_row(popular, together))
    return Qualitative(
        _means(pd.concat(tags), ["model", "tag", "group", "third", "tenth"]),
        _means(pd.concat(pairs), ["model", "set", "first", "second"]),
        _means(pd.DataFrame(models), ["model"]),
        _means(pd.concat(confusion), ["model", "set", "true", "chosen"]),
        pd.DataFrame({model: np.mean(of_seeds, axis=0) for model, of_seeds in of_tracks.items()}),
        partition.artist_of(partition.tracks("test")),
    )


def popularity_words(listening: Qualitative, models: Sequence[str]) -> list[str]:
    """The conclusion of the tables about popular tags, for the given models."""
    rows = listening.by_model()
    any_row = rows[models[0]]
    if np.isnan(any_row["tenth_true"]):
        return []
    tenth = int(any_row["tenth"])
    most = "of the most popular tag" if tenth == 1 else f"among the {tenth} most popular tags"
    given = [f"{label_of(model)} {rows[model]['tenth_picked']:.0%}" for model in models]
    lead = (
        f"Of all true tags of the test tracks, {any_row['tenth_true']:.0%} are {most} of {any_row['tags']:.0f}; "
        f"of the tags that the models pick: {listed(given)}."
    )
    biased = [model for model in models if rows[model]["tenth_picked"] > any_row["tenth_true"] + 0.005]
    if len(biased) == len(models):
        who = {1: "It favours", 2: "Both favour"}.get(len(models), "All of them favour")
        return [lead, f"{who} popular tags, as the paper heard of its network."]
    if biased:
        verb = "favours" if len(biased) == 1 else "favour"
        return [lead, f"{at_start(listed([label_of(model) for model in biased]))} {verb} popular tags."]
    return [lead, "None of them favours popular tags; the paper heard its network do so."]


def exclusive_words(listening: Qualitative, front_end: str, baseline: str | None) -> list[str]:
    """The conclusion of the tables about exclusive tags, for a front-end and a baseline side by side."""
    rows = listening.by_model()
    if listening.pairs.empty or np.isnan(rows[front_end]["impossible"]):
        return []
    models = [front_end, *([baseline] if baseline else [])]
    shares = [
        f"{label_of(model)} on {_percent(rows[model]['impossible'])} of the test tracks "
        f"({_percent(rows[model]['impossible_expected'])} if its tags were independent)"
        for model in models
    ]
    lead = (
        f"Two tags that exclude each other are predicted together by {listed(shares)}; "
        f"the labels have it on {_percent(rows[front_end]['impossible_labelled'])}."
    )
    if baseline is None:
        return [lead]
    known = listening.together[front_end].notna().to_numpy()
    gaps = (listening.together[front_end] - listening.together[baseline]).to_numpy()[known]
    difference = float(gaps.mean())
    variance, artists = variance_of_mean(gaps - difference, listening.artist[known])
    if not two_sided(difference, float(np.sqrt(variance)), artists) <= CHANCE:
        paper = "The paper heard its network tell such tags apart better than its baseline."
        tracks = rows[front_end]["tracks"]
        return [lead, f"On {tracks:,.0f} tracks by {counted(artists, 'artist')} that may be chance. {paper}"]
    if difference < 0:
        return [lead, "As the paper heard it: the model that predicts all tags together tells them apart better."]
    return [lead, "The paper heard the opposite: its network told such tags apart better than its baseline."]


def _percent(share: float) -> str:
    """
    >>> _percent(0.123), _percent(0.0042), _percent(0.0)
    ('12%', '0.4%', '0%')
    """
    return f"{share:.1%}" if 0 < share < 0.0095 else f"{share:.0%}"


def _check_catalog(partition: Partition, catalog: Catalog) -> None:
    lacking = [tag for tag in partition.tags if tag not in catalog.tags.index]
    strangers = partition.table["track_id"][~partition.table["track_id"].isin(catalog.labels.index)].tolist()
    for what, missing in (("tag", lacking), ("track", strangers)):
        if missing:
            raise TagscaleError(
                f"the catalog {catalog.name} has no {what} {missing[0]!r}"
                + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
                + ", which the partition has: they belong to different data. Run `dvc repro`."
            )


def _predictions(results: Sequence[Path]) -> dict[str, Path]:
    """Folders of results by the name of their run, whatever they are called."""
    files = {}
    for folder in map(Path, results):
        if (folder / "metrics.json").is_file():
            files[result_output(folder).facts(ResultFacts)["identity"].name] = folder
    return files


def _read(files: dict[str, Path], run: str, partition: Partition, tags: list[str]) -> dict[str, np.ndarray]:
    """A run's scores of the validation and of the test part, (tracks, tags) in the partition's order."""
    output, file = result_output(files[run]), "predictions.parquet"
    of_part, table = read_predictions(files[run])
    if absent := [tag for tag in tags if tag not in table]:
        raise output.damaged(file, f"no scores of the tag {absent[0]!r}, which the partition has")
    table = table[tags]
    scores = {}
    for part in PARTS:
        wanted, rows = partition.tracks(part), table[(of_part == part).to_numpy()]
        lacking = pd.Index(wanted).difference(rows.index)
        if len(lacking) or not rows.index.is_unique:
            what = f", {lacking[0]!r} for one" if len(lacking) else ", and some tracks are in it twice"
            raise output.damaged(file, f"{len(lacking)} {part} tracks of the partition are not in it{what}")
        scores[part] = rows.loc[wanted].to_numpy()
        if np.isnan(scores[part]).any():
            raise output.damaged(file, "expected a score for every track and tag, found empty ones")
    return scores


def _precision(study: Study, model: str, size: str, seed: int, names: list[str]) -> np.ndarray:
    """(2, tags): PR-AUC of every tag on the test part, and that of guessing, as the run's per_tag.csv has them."""
    rows = study.tags
    rows = rows[(rows["model"] == model) & (rows["size"] == size) & (rows["seed"] == seed) & (rows["part"] == "test")]
    return rows.set_index("tag")[[PR_AUC.key, GUESS]].reindex(names).to_numpy(float).T


def _tag_rows(
    popular: listening.Popularity, groups: pd.Series, train: np.ndarray, precision: np.ndarray
) -> pd.DataFrame:
    columns = {name: getattr(popular, name) for name in ("true", "picked", "ratio", "mean_score")}
    third = [listening.THIRDS[number] if number >= 0 else "" for number in popular.third]
    table = pd.DataFrame({"tag": groups.index, "group": groups.to_numpy(), "train_share": train, **columns})
    return table.assign(pr_auc=precision, lift=popular.lift, third=third, tenth=popular.tenth)


def _pair_rows(together: listening.Exclusive, names: list[str], sets: list[str]) -> pd.DataFrame:
    pairs = listening.pairs_of(sets)
    about = {
        "set": [sets[first] for first, _ in pairs],
        "first": [names[first] for first, _ in pairs],
        "second": [names[second] for _, second in pairs],
    }
    counts = {name: getattr(together, name) for name in ("tracks", "predicted", "expected", "labelled")}
    return pd.DataFrame(about | counts)


def _confusion_rows(labels: np.ndarray, scores: np.ndarray, names: list[str], sets: list[str]) -> pd.DataFrame:
    columns = ["set", "true", "chosen", "tracks"]
    rows = [pd.DataFrame(columns=columns).astype({"tracks": int})]
    for name in dict.fromkeys(sets[first] for first, _ in listening.pairs_of(sets)):
        own = [number for number, of in enumerate(sets) if of == name]
        tags = [names[number] for number in own]
        table = pd.DataFrame(listening.confusion(labels[:, own], scores[:, own]), index=tags, columns=tags)
        long = table.rename_axis("true").reset_index().melt("true", var_name="chosen", value_name="tracks")
        rows.append(long.assign(set=name)[columns])
    return pd.concat(rows)


def _model_row(popular: listening.Popularity, together: listening.Exclusive) -> dict[str, float]:
    row: dict[str, float] = {"tags": len(popular.true), "tenth": int(popular.tenth.sum())}
    row |= {name: getattr(popular, name) for name in ("correlation", "tenth_picked", "tenth_true")}
    row |= {f"lift_{third}": lift for third, lift in zip(listening.THIRDS, popular.lifts, strict=True)}
    row |= {"impossible": together.share, "impossible_expected": together.share_expected}
    row |= {"impossible_labelled": together.share_labelled}
    return row | {"pairs": together.mean, "pairs_labelled": together.mean_labelled}


def _means(rows: pd.DataFrame, about: list[str]) -> pd.DataFrame:
    """Mean over the seeds, in the order of the first."""
    return rows.groupby(about, sort=False, dropna=False).mean().reset_index()
