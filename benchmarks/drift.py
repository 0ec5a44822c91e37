"""Drift: false alarms of `tagscale watch` and of other tests on no drift, and what they see of drifts made on purpose.

    python benchmarks/drift.py --published FOLDER --folds PROJECT --version PROJECT --songs FOLDER \
        --output benchmarks/results/drift.md

FOLDER of --published holds scores_test_clean.csv.gz, labels_test_clean.csv.gz and MagnaTagATune's
clip_info_final.csv.gz. The PROJECT of --folds is a finished study in folds of a dataset whose tags have the prefix
`genre_`; that of --version is a finished study whose champion carries a profile, and --songs is a folder of audio of
other music for it. What is not given is left out.
"""

import argparse
import datetime
import os
import platform
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr
from machine import processor
from scipy import stats

import tagscale
from tagscale.catalog.tables import Catalog
from tagscale.decoding.decode import decode
from tagscale.evaluation.bootstrap import holm
from tagscale.evaluation.two_samples import shift
from tagscale.partition.divide import Partition
from tagscale.registry.profile import Profile
from tagscale.runtime.pcm import FULL_SCALE
from tagscale.serving import DRIFT_MARGIN
from tagscale.serving.rows import Rows
from tagscale.serving.tagger import Tagger
from tagscale.serving.watch import compare
from tagscale.study.tables import read_predictions

LEVEL = 0.05
SIZES = ((100, 100), (400, 400), (1000, 2000))  # tracks of the profile, and served; those of their artists at most
WHO = {"known": "{0}/{1}.flac", "unknown": "{1}.flac", "independent": "{1}/{1}.flac"}  # what the paths of rows tell


def rows_of(scores: np.ndarray, tags: Sequence[str], artists: np.ndarray, who: str = "known") -> Rows:
    """Rows of scores in files that differ in nothing else."""
    table = pd.DataFrame(scores, columns=list(tags)).astype(np.float32)
    files = pd.DataFrame({"path": [WHO[who].format(artist, row) for row, artist in enumerate(artists)], "error": None})
    facts = {"seconds": 30.0, "rate": 44_100, "channels": 2, "format": "MP3", "rms_dbfs": -18.0, "peak": 1.0}
    files = files.assign(**facts, clipped=0.0, warnings=[[]] * len(files))
    return Rows(files, table, table, None)


def profile_of(scores: np.ndarray, tags: Sequence[str], artists: np.ndarray) -> Profile:
    count = len(scores)
    table = pd.DataFrame(scores, columns=list(tags))
    facts = {"seconds": 30.0, "rate": 44_100, "channels": 2, "rms_dbfs": -18.0, "peak": 1.0, "clipped": 0.0}
    return Profile(
        tracks=count,
        folds=0,
        artists=artists.tolist(),
        scores={tag: table[tag].tolist() for tag in tags},
        measures={name: [float(value)] * count for name, value in facts.items()},
        formats=["mp3"] * count,
        warned=[False] * count,
        embedded=[],
        embeddings=[],
    )


def stability(first: np.ndarray, second: np.ndarray, bins: int = 10) -> float:
    """Population stability index over tenths of the first sample; above 0.25 is called a major shift."""
    edges = np.quantile(first, np.linspace(0, 1, bins + 1)[1:-1])
    shares = [
        np.clip(np.bincount(np.searchsorted(edges, values), minlength=bins) / len(values), 1e-3, None)
        for values in (first, second)
    ]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def alarms(
    before: np.ndarray, now: np.ndarray, own: np.ndarray, others: np.ndarray, tags: Sequence[str], *, watched: bool
) -> dict[str, bool]:
    """Whether each way raises an alarm over any of the tags.

    Args:
        before, now: (tracks, tags) of the profile, and served; own, others: their artists
        watched: whether `tagscale watch` is asked too, which takes most of the time
    """
    columns = list(zip(before.T, now.T, strict=True))
    tests: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "Kolmogorov-Smirnov": lambda x, y: stats.ks_2samp(x, y, method="asymp").pvalue,
        "Cramer-von Mises": lambda x, y: stats.cramervonmises_2samp(x, y, method="asymptotic").pvalue,
        "Mann-Whitney": lambda x, y: stats.mannwhitneyu(x, y, method="asymptotic").pvalue,
        "shift of whole artists": lambda x, y: shift(x, y, own, others).p(),
        "the same, beyond the margin": lambda x, y: shift(x, y, own, others).p(DRIFT_MARGIN),
    }
    raised = {name: min(holm([test(x, y) for x, y in columns])) < LEVEL for name, test in tests.items()}
    raised["PSI above 0.25"] = max(stability(x, y) for x, y in columns) > 0.25
    sizes = [stats.wasserstein_distance(x, y) / np.concatenate([x, y]).std() for x, y in columns]
    raised["Wasserstein above 0.3 deviations"] = max(sizes) > 0.3
    profile = profile_of(before, tags, own)
    for who in WHO if watched else ():
        record = compare(rows_of(now, tags, others, who), profile, None, DRIFT_MARGIN, False)
        raised[f"watch, artists {who}"] = record["drift"]
        if who == "known":
            raised["its tags alone"] = any(one["drifts"] for one in record["tags"])
            raised["its classifier alone"] = record["together"]["drifts"]
    return raised


def published(folder: Path, repeats: int) -> list[str]:
    """The published scores for MagnaTagATune: random halves of the artists, and rock in the place of other music."""
    scores = pd.read_csv(folder / "published" / "scores_test_clean.csv.gz").set_index("mp3_path")
    labels = pd.read_csv(folder / "published" / "labels_test_clean.csv.gz").set_index("mp3_path").loc[scores.index]
    about = pd.read_csv(folder / "clip_info_final.csv.gz", sep="\t").set_index("mp3_path")
    names, artist = np.unique(about.loc[scores.index, "artist"].astype(str), return_inverse=True)
    values, rock, tags = scores.to_numpy(np.float32), (labels["rock"] > 0.5).to_numpy(), list(scores)
    random, found = np.random.default_rng(0), []

    def some(allowed: np.ndarray, most: int) -> np.ndarray:
        rows = np.flatnonzero(allowed)
        return np.sort(random.choice(rows, min(most, len(rows)), replace=False))

    for tracks, served in SIZES:
        for _ in range(repeats):
            order = random.permutation(len(names))
            own, others = np.isin(artist, order[: len(names) // 2]), np.isin(artist, order[len(names) // 2 :])
            profile, same = some(own, tracks), some(others, served)
            drifts = {
                "none": same,
                "half of it rock": np.concatenate([same[::2], some(others & rock, len(same) // 2)]),
                "all of it rock": some(others & rock, served),
            }
            for drift, rows in drifts.items():
                raised = alarms(
                    values[profile], values[rows], artist[profile], artist[rows], tags, watched=tracks < SIZES[-1][0]
                )
                found.append({"profile": tracks, "drift": drift} | raised)
    return [
        f"## MagnaTagATune, scores of musicnn: {len(scores):,} clips by {len(names)} artists, {len(tags)} tags",
        "",
        f"Shares of {repeats} trials with an alarm. In each, a random half of the artists gives the profile, and the "
        "other half is served.",
        "",
        *shares(found, ["profile", "drift"]),
    ]


def folds(project: Path, repeats: int) -> list[str]:
    """A study in folds: half of the artists against the other, its genres, and the mean of two models."""
    catalog, parts = Catalog.load(project / "data" / "catalog"), Partition.load(project / "data" / "partition")
    tracks = parts.tracks("test")
    artist = parts.artist_of(tracks)
    genres = [tag for tag in catalog.tags.index if tag.startswith("genre_")]
    genre = catalog.labels.loc[tracks, genres].idxmax(axis=1).str.removeprefix("genre_").to_numpy()
    found = []
    for run in sorted(path for path in (project / "results").iterdir() if path.name.startswith(("probe-all", "spec"))):
        part, scores = read_predictions(run)
        single, valid = (
            scores[(part == name).to_numpy()].loc[tracks, parts.tags].to_numpy() for name in ("test", "valid")
        )
        random = np.random.default_rng(0)
        for _ in range(repeats):
            order = random.permutation(artist.max() + 1)
            own = np.isin(artist, order[: len(order) // 2])
            served = {"none": (~own, single), "none, served by the mean of two models": (~own, (single + valid) / 2)}
            served |= {f"{name} alone": (~own & (genre == name), single) for name in sorted(set(genre))}
            for drift, (rows, values) in served.items():
                if rows.sum() >= 20:
                    raised = alarms(single[own], values[rows], artist[own], artist[rows], parts.tags, watched=True)
                    found.append({"run": run.name, "drift": drift, "tracks": int(rows.sum())} | raised)
    table = pd.DataFrame(found)
    table["tracks"] = table.groupby(["run", "drift"])["tracks"].transform("mean").round().astype(int)
    about = f"{len(tracks)} tracks by {artist.max() + 1} artists, {len(parts.tags)} tags, {parts.folds} folds"
    return [
        f"## {catalog.name}: {about}",
        "",
        f"Shares of {repeats} trials with an alarm, half of the artists each.",
        "",
        *shares(table.to_dict("records"), ["run", "drift", "tracks"]),
    ]


def shares(rows: Sequence[Mapping[str, object]], keys: list[str]) -> list[str]:
    """A way a row, a case a column."""
    grouped = pd.DataFrame(rows).groupby(keys, sort=False).mean().T
    heads = [", ".join(map(str, key if isinstance(key, tuple) else (key,))) for key in grouped]
    lines = [f"| way | {' | '.join(heads)} |", f"|{' --- |' * (len(heads) + 1)}"]
    for way, values in grouped.iterrows():
        lines.append(f"| {way} | {' | '.join('' if pd.isna(one) else f'{one:.0%}' for one in values)} |")
    return [*lines, ""]


def version(project: Path, songs: Path | None, most: int) -> list[str]:
    """A registered version and files: its own test tracks, copies of them at 8 kHz, and other music."""
    os.chdir(project)
    tagger = tagscale.load("champion")
    profile = tagger.audio.profile
    assert profile is not None, "register the study again: its champion carries no profile"
    catalog, parts = Catalog.load(Path("data/catalog")), Partition.load(Path("data/partition"))
    root = Path("data/corpus")
    path_of = catalog.tracks.set_index("track_id")["path"]

    def served(part: str) -> tuple[list[Path], np.ndarray]:
        tracks = parts.tracks(part)[:most]
        return [root / path_of[track] for track in tracks], parts.artist_of(tracks)

    paths, artists = served("valid")
    with tempfile.TemporaryDirectory() as folder:
        low = [copy_at(8000, path, Path(folder) / f"{number}.flac") for number, path in enumerate(paths)]
        tagged = {"validation part": tag(tagger, paths, artists), "the same at 8 kHz": tag(tagger, low, artists)}
    tagged["every other one at 8 kHz"] = alternating(*tagged.values())
    if songs is not None:
        files = sorted(path for path in songs.rglob("*") if path.is_file())[:most]
        tagged[f"other music ({songs.name})"] = tag(tagger, files, np.arange(len(files)))
    lines = ["| served | files | drift | all tags together | tags that drift, the most first | files that differ |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for name, rows in tagged.items():
        record = compare(rows, profile, tagger.decisions, DRIFT_MARGIN, False)
        whole = record["together"]
        tags = [f"{one['name']} {one['chance']:.2f}" for one in record["tags"] if one["drifts"]]
        files_ = [one["name"] for one in record["files"] if one["drifts"]]
        told = f"{whole['chance']:.2f} ({whole['low']:.2f} to {whole['high']:.2f})"
        more = f" and {len(tags) - 6} more" if len(tags) > 6 else ""
        verdict = "yes" if record["drift"] else "no"
        lines.append(
            f"| {name} | {record['tagged']} | {verdict} | {told} | {', '.join(tags[:6])}{more} | {', '.join(files_)} |"
        )
    head = f"## The default study's champion: profile of {len(profile)} tracks by {len(set(profile.artists))} artists"
    return [head, "", *lines, ""]


def alternating(first: Rows, second: Rows) -> Rows:
    """Every other row of each."""
    odd = np.arange(len(first)) % 2 == 1
    files, scores = (
        pd.concat([one[~odd], other[odd]], ignore_index=True)
        for one, other in ((first.files, second.files), (first.scores, second.scores))
    )
    return Rows(files, scores, scores, None)


def copy_at(rate: int, source: Path, target: Path) -> Path:
    """A copy of a file at a lower rate."""
    samples = decode(source).samples / FULL_SCALE
    soundfile.write(target, soxr.resample(samples, tagscale.SAMPLE_RATE, rate), rate)
    return target


def tag(tagger: Tagger, paths: Sequence[Path], artists: np.ndarray) -> Rows:
    """Rows of files as `tagscale tag --out` gives them, in a folder an artist."""
    results = list(tagger.tag_all(paths))
    facts = [one.facts for one in results]
    files = pd.DataFrame(
        {
            "path": [f"{artist}/{path.name}" for artist, path in zip(artists, paths, strict=True)],
            "error": [one.error for one in results],
            "warnings": [one.warnings for one in results],
            "seconds": [one.get("source_seconds") for one in facts],
            "rate": [one.get("source_rate") for one in facts],
            **{
                name: [one.get(name) for one in facts] for name in ("channels", "format", "rms_dbfs", "peak", "clipped")
            },
        }
    )
    scores = pd.DataFrame([one.scores for one in results], columns=list(tagger.tags)).astype(np.float32)
    return Rows(files, scores, scores, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", type=Path, help="folder of MagnaTagATune's files")
    parser.add_argument("--folds", type=Path, help="a finished project in folds")
    parser.add_argument("--version", type=Path, help="a finished project whose champion has a profile")
    parser.add_argument("--songs", type=Path, help="a folder of other music")
    parser.add_argument("--most", type=int, default=100, help="files of each kind, for --version")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--output", type=Path, help="a Markdown file to write the tables to as well")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # of cramervonmises_2samp on ties
    output = arguments.output and arguments.output.resolve()
    parts = [published(arguments.published, arguments.repeats)] if arguments.published else []
    parts += [folds(arguments.folds.resolve(), arguments.repeats)] if arguments.folds else []
    parts += [version(arguments.version, arguments.songs, arguments.most)] if arguments.version else []
    lines = [
        "# Drift: alarms where nothing drifts, and where something does",
        "",
        "`python benchmarks/drift.py --published FOLDER --folds PROJECT --version PROJECT --songs FOLDER`",
        "",
        f"{datetime.date.today()}, {processor()}, Python {platform.python_version()}, NumPy {np.__version__}.",
        "",
        *(line for part in parts for line in part),
    ]
    print("\n".join(lines))
    if output:
        output.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
