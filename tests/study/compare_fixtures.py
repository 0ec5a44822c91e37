"""A study's files as the train, evaluate and partition stages write them, with scores that the test chooses."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tagscale.evaluation.metrics import METRICS
from tagscale.partition.divide import Partition
from tagscale.runtime.files import write_json
from tagscale.runtime.identity import RunIdentity, run_name

TAGS: dict[str, tuple[str, Sequence[str]]] = {
    "genre": ("classification", ("rock", "jazz", "techno", "latin", "baroque", "hip-hop", "ambient", "folk")),
    "instruments": ("classification", ("piano", "strings", "brass", "flute", "distorted guitar", "drums", "organ")),
    "meter": ("classification", ("triple", "quadruple", "compound", "odd")),
    "rhythmic feel": ("classification", ("swing", "shuffle", "backbeat", "syncopated", "straight")),
    "harmony": ("classification", ("major", "minor", "chromatic", "modal")),
    "mood": ("classification", ("calm", "angry", "sad", "joyful")),
    "sonority": ("regression", ("acoustic", "bright", "reverberant")),
    "energy": ("regression", ("energy", "danceable", "tempo")),
}
SIZES = {"100": 100, "300": 300, "all": 802}
# PR-AUC by number of training tracks: the spectrogram starts ahead, the waveform overtakes it.
CURVES: dict[str, Callable[[float], float]] = {
    "waveform": lambda tracks: 0.22 + 0.13 * np.log10(tracks / 100) * 2,
    "spectrogram": lambda tracks: 0.31 + 0.10 * np.log10(tracks / 100) * 1.9,
    "descriptors": lambda tracks: 0.33 + 0.05 * np.log10(tracks / 100) * 1.8,
}


SCORES = {"roc_auc": 0.75, "pr_auc": 0.4}  # around which tags differ; other metrics around 0.2


class Files(NamedTuple):
    runs: list[Path]
    results: list[Path]
    partition: Path


def make_study(
    root: Path,
    *,
    models: Sequence[str] = ("waveform", "spectrogram"),
    baselines: Sequence[str] = ("descriptors",),
    sizes: dict[str, int] = SIZES,
    seeds: Sequence[int] = (0,),
    kinds: Sequence[str] = ("classification", "regression"),
    pr_auc: Callable[[str, int, int], float] | None = None,
    epochs: int = 12,
    resamples: int = 0,
) -> Files:
    """Write runs/, results/ and partition/ under `root`; `pr_auc(model, tracks, seed)` sets the mean over tags.

    resamples: of the bootstrap over test artists; 0 for results without intervals
    """
    grid = tuple(models), tuple(baselines), tuple(sizes.items()), tuple(seeds), tuple(kinds), epochs, resamples
    if pr_auc:
        return _make(root, *grid, pr_auc)
    folder, files = _made(*grid)
    shutil.copytree(folder.name, root, dirs_exist_ok=True)
    runs, results = ([root / path.relative_to(folder.name) for path in paths] for paths in files[:2])
    return Files(runs, results, root / "partition")


@cache
def _made(*grid: Any) -> tuple[tempfile.TemporaryDirectory, Files]:
    """A study of the usual scores, made once in this process; it goes with the process."""
    folder = tempfile.TemporaryDirectory(prefix="study-")
    return folder, _make(Path(folder.name), *grid, _usual)


def _usual(model: str, tracks: int, seed: int) -> float:
    return float(CURVES.get(model, CURVES["descriptors"])(tracks)) + 0.012 * (seed % 3 - 1)


def _make(
    root: Path,
    models: Sequence[str],
    baselines: Sequence[str],
    sizes: Sequence[tuple[str, int]],
    seeds: Sequence[int],
    kinds: Sequence[str],
    epochs: int,
    resamples: int,
    score: Callable[[str, int, int], float],
) -> Files:
    tags = [
        {"tag": tag, "group": group, "kind": kind}
        for group, (kind, names) in TAGS.items()
        for tag in names
        if kind in kinds
    ]
    partition = make_partition(
        root / "partition", max(tracks for _, tracks in sizes), [str(row["tag"]) for row in tags]
    )
    runs, results = [], []
    for model in (*models, *baselines):
        for size, tracks in sizes:
            for seed in seeds:
                identity = RunIdentity(model, size, seed, "fixture", "d" * 12, partition.hash, f"settings-{model}")
                name = run_name(model, size, seed)
                runs.append(_make_run(root / "runs" / name, identity, tracks, None if model in baselines else epochs))
                results.append(_make_results(root / "results" / name, identity, tracks, tags, score, resamples))
    return Files(runs, results, root / "partition")


def make_partition(folder: Path, train: int, tags: list[str], valid: int = 99, test: int = 101) -> Partition:
    parts = ["train"] * train + ["valid"] * valid + ["test"] * test
    table = pd.DataFrame(
        {
            "track_id": [f"track-{number:05d}" for number in range(len(parts))],
            "artist": [f"artist-{part}-{number // 6:04d}" for number, part in enumerate(parts)],
            "part": parts,
            "rank": [*range(train), *[-1] * (valid + test)],
        }
    )
    partition = Partition(table, tags)
    partition.save(folder)
    return partition


def _make_run(folder: Path, identity: RunIdentity, tracks: int, epochs: int | None) -> Path:
    folder.mkdir(parents=True)
    parameters = {"waveform": 187_000, "spectrogram": 254_000, "descriptors": 12_480}.get(identity.model, 100_000)
    facts = {"train_tracks": tracks, "parameters": parameters, "seconds": 0.2 * tracks + 10 * (identity.seed + 1)}
    facts |= {"unlearned": {"triangle": "not annotated in the training tracks"}} if tracks == SIZES["100"] else {}
    facts |= {"kept_step": 10 * (epochs // 2)} if epochs else {}
    write_json(folder / "run.json", {"identity": identity.as_dict(), **facts})
    if epochs is not None:
        epoch = np.arange(epochs)
        train = 0.28 + 0.4 * np.exp(-epoch * tracks / 2500)
        valid = 0.36 - 0.03 * np.log10(tracks / 100) + 0.3 * np.exp(-epoch * tracks / 2500) + 0.002 * epoch
        history = {"step": 10 * epoch, "train_loss": train, "valid_loss": valid, "seconds": 0.02 * tracks}
        pd.DataFrame(history).to_csv(folder / "history.csv", index=False)
    return folder


def _make_results(
    folder: Path, identity: RunIdentity, tracks: int, tags: list[dict[str, Any]], score: Any, resamples: int
) -> Path:
    folder.mkdir(parents=True)
    target = score(identity.model, tracks, identity.seed)
    parts = ("valid", "test")
    rows = [_tag_row(row, part, number, identity.model) for part in parts for number, row in enumerate(tags)]
    table = pd.DataFrame(rows)
    for part in ("valid", "test"):  # the means over tags are exactly what the test asked for
        rows = table["part"] == part
        aim = target + (0.02 if part == "valid" else 0.0)
        wanted = {key: 0.30 - aim / 4 if metric.lower_is_better else aim for key, metric in METRICS.items()}
        wanted["roc_auc"] = 0.55 + aim / 2
        table.loc[rows, list(wanted)] += pd.Series(wanted) - table.loc[rows, list(wanted)].mean()
    low = (table[list(wanted)] - 0.1).where((table["part"] == "test") & (resamples > 0))
    ends = [low.add_suffix("_low"), (low + 0.2).add_suffix("_high")]
    columns = [column for metric in wanted for column in (f"{metric}_low", f"{metric}_high")]
    table = pd.concat([table, pd.concat(ends, axis=1)[columns]], axis=1)
    table.to_csv(folder / "per_tag.csv", index=False)
    means = {part: _means(table[table["part"] == part]) for part in ("valid", "test")}
    facts = {"train_tracks": tracks, "parameters": 1, **means}
    if resamples:
        facts |= _make_resamples(folder, identity, means["test"], resamples)
    unscored = {"valid": {}, "test": {"odd": "no positive track in this part"} if any(table["tag"] == "odd") else {}}
    write_json(folder / "metrics.json", {"identity": identity.as_dict(), **facts, "unscored": unscored})
    return folder


def _make_resamples(
    folder: Path, identity: RunIdentity, test: dict[str, float | None], resamples: int
) -> dict[str, Any]:
    """Around the metrics of the test part: what all runs have in common, as their artists are the same, and a rest."""
    common = np.random.default_rng(1).normal(0, 0.02, resamples)
    own = np.random.default_rng([identity.seed, *identity.name.encode()]).normal(0, 0.005, resamples)
    known = {metric: np.nan if mean is None else mean for metric, mean in test.items()}
    table = pd.DataFrame({metric: mean + common + own for metric, mean in known.items()})
    table.rename_axis("resample").reset_index().to_parquet(folder / "resamples.parquet", index=False)
    ends = {metric: list(table[metric].quantile([0.025, 0.975])) for metric in known if test[metric] is not None}
    drawn = {"resamples": resamples, "confidence": 0.95, "artists": 17, "hash": f"{resamples:012x}"}
    return {"intervals": {"test": ends}, "bootstrap": drawn}


def _tag_row(row: dict[str, Any], part: str, number: int, model: str) -> dict[str, Any]:
    wave = 0.12 * np.sin(2.3 * number) + 0.04 * np.sin(1.7 * number + len(model))
    # One tag has no positive track in the test part, so its metrics are empty.
    regression, lost = row["kind"] == "regression", row["tag"] == "odd" and part == "test"
    positives, tracks = 0 if lost else 4 + (number * 7) % 40, 101 if part == "test" else 99
    return {
        **row,
        "part": part,
        "positives": positives,
        "tracks": tracks,
        "artists": 17 if regression else 0 if lost else 1 + (number * 5) % 9,
        "guess": positives / tracks,
        **{
            key: np.nan
            if lost or row["kind"] not in metric.kinds
            else SCORES.get(key, 0.2) + wave / (1 + 3 * regression)
            for key, metric in METRICS.items()
        },
    }


def _means(rows: pd.DataFrame) -> dict[str, float | None]:
    means = {metric: rows[metric].mean() for metric in METRICS}
    return {metric: None if np.isnan(mean) else float(mean) for metric, mean in means.items()}
