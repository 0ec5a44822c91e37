"""The classic baseline: trees of three libraries on the descriptors, and its key and tempo against the composed truth.

    python benchmarks/baseline.py --data DATA [--data DATA ...] [--state FILE] [--output FILE]
    python benchmarks/baseline.py --sound DATA [--tracks 250] [--state FILE] [--output FILE]

DATA is a project's `data` folder with catalog, partition, descriptors and, for --sound, the store of the default
corpus. LightGBM and librosa are no dependencies of tagscale: without them their rows are missing. The state file keeps
what is measured, so a call goes on where another ended; the page holds all of it.

Trees: all libraries grow the same number of trees of 8 leaves at the same rate, from 64 bins and 15 % of the
descriptors a split, with the same least leaf. Key and tempo: `synth` says what it composed, free of label noise. A key
is right where its tonic and its mode are; ROC-AUC is of the fit of the best major key less that of the best minor key,
on tracks that are composed in one or the other. A tempo is right within 4 %, on tracks with drums.
"""

import argparse
import datetime
import platform
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from machine import processor
from rich.console import Console
from scipy.ndimage import median_filter
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import roc_auc_score

from tagscale import POSITIVE, SAMPLE_RATE
from tagscale.catalog.tables import Catalog
from tagscale.descriptors import describe, harmony, rhythm
from tagscale.descriptors.baseline import BINS, LEAF, LEAF_SHARE, SHARE, DescriptorTrees, rounds_of
from tagscale.descriptors.table import read_descriptors
from tagscale.evaluation.bootstrap import centred, draw, resampled_metrics
from tagscale.evaluation.metrics import METRICS, evaluate
from tagscale.params.blocks import BaselineParams
from tagscale.partition.divide import Partition
from tagscale.runtime.files import read_json, write_json
from tagscale.store.read import Store

RESULTS = Path(__file__).parent / "results"
RESAMPLES, CONFIDENCE = 500, 0.95
ENDS = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
SHOWN = ("roc_auc", "pr_auc", "rmse")
SIZES: dict[str, tuple[int | str, ...]] = {"default-corpus": (50, 200, "all"), "magnatune160": (40, 80, "all")}
LEAVES, RATE = 8, 0.1
Fit = Callable[[pd.DataFrame, np.ndarray, list[str], pd.DataFrame], np.ndarray]


def xgboost(trees: int | None, leaf: float | None) -> Fit:
    """The project's own trees: features, labels, kinds and features to score -> scores."""

    def fit(features: pd.DataFrame, labels: np.ndarray, kinds: list[str], new: pd.DataFrame) -> np.ndarray:
        params = BaselineParams(trees=trees, leaves=LEAVES, leaf=leaf, learning_rate=RATE)
        tags = [f"tag{number}" for number in range(len(kinds))]
        grown = DescriptorTrees.fit(
            features, labels, tags, kinds, params, 0, threads=1, console=Console(file=StringIO())
        )
        return grown.predict(new)

    return fit


def per_tag(classifier: Callable[..., Any], regressor: Callable[..., Any], leaf: str) -> Fit:
    """Trees of another library, which grows one tag at a time; `leaf` is its name of the least tracks of a leaf."""

    def fit(features: pd.DataFrame, labels: np.ndarray, kinds: list[str], new: pd.DataFrame) -> np.ndarray:
        x, others = features.to_numpy(np.float32), new.to_numpy(np.float32)
        scores = np.full((len(new), len(kinds)), 0.5, np.float32)
        for tag, kind in enumerate(kinds):
            known = ~np.isnan(labels[:, tag])
            values = labels[known, tag] if kind == "regression" else labels[known, tag] >= POSITIVE
            if len(np.unique(values)) < 2:
                scores[:, tag] = values[0] if len(values) else 0.5
                continue
            least = {leaf: max(1, int(min(LEAF, LEAF_SHARE * known.sum())))}
            if kind == "regression":
                model = regressor(rounds_of(len(x)), **least).fit(x[known], values)
                scores[:, tag] = np.clip(model.predict(others), 0, 1)
            else:
                model = classifier(rounds_of(len(x)), **least).fit(x[known], values)
                scores[:, tag] = model.predict_proba(others)[:, 1]
        return scores

    return fit


def _of_scikit_learn(kind: type) -> Callable[..., Any]:
    common = {"max_leaf_nodes": LEAVES, "learning_rate": RATE, "max_bins": BINS, "max_features": SHARE}
    return lambda rounds, **least: kind(max_iter=rounds, early_stopping=False, random_state=0, **common, **least)


def _of_lightgbm(kind: str) -> Callable[..., Any]:
    common = {"num_leaves": LEAVES, "learning_rate": RATE, "max_bin": BINS, "colsample_bynode": SHARE}
    common |= {"min_sum_hessian_in_leaf": 0, "n_jobs": 1, "random_state": 0, "verbose": -1}

    def grow(rounds: int, **least: int) -> Any:
        return getattr(import_module("lightgbm"), kind)(n_estimators=rounds, **common, **least)

    return grow


METHODS: dict[str, Fit] = {
    "before: XGBoost, 60 trees, leaves of 20 tracks": xgboost(60, LEAF),
    "now: XGBoost, 60 to 150 trees, leaves of 0.4 of the annotated tracks, 20 at most": xgboost(None, None),
    "scikit-learn, as now": per_tag(
        _of_scikit_learn(HistGradientBoostingClassifier),
        _of_scikit_learn(HistGradientBoostingRegressor),
        "min_samples_leaf",
    ),
}
if find_spec("lightgbm"):
    METHODS["LightGBM, as now"] = per_tag(
        _of_lightgbm("LGBMClassifier"), _of_lightgbm("LGBMRegressor"), "min_child_samples"
    )
NOW = list(METHODS)[1]


class Corpus:
    """The tables of one data folder."""

    def __init__(self, data: Path) -> None:
        self.catalog, self.partition = Catalog.load(data / "catalog"), Partition.load(data / "partition")
        self.name, self.tags = self.catalog.name, self.partition.tags
        self.kinds = self.catalog.tags.loc[self.tags, "kind"].tolist()
        self.regression = np.array(self.kinds) == "regression"
        self.tracks = self.partition.tracks("test")
        self.descriptors = read_descriptors(data / "descriptors", self.catalog.tracks["track_id"].tolist())

    def labels(self, tracks: list[str]) -> np.ndarray:
        return self.catalog.labels.loc[tracks, self.tags].to_numpy(np.float32)

    def measure(self, fit: Fit, size: int | str) -> dict[str, Any]:
        """Test scores of trees on `size` training tracks, with resamples; seconds of CPU to grow and score them."""
        scores = pd.DataFrame(0.0, self.tracks, self.tags, np.float32)
        begin = time.process_time()
        for view in self.partition.views().values():
            train, test = view.training_subset(size), view.tracks("test")
            features = self.descriptors.loc[train], self.descriptors.loc[test]
            scores.loc[test] = fit(features[0], self.labels(train), self.kinds, features[1])
        seconds = time.process_time() - begin
        parts, labels, values = self.partition, self.labels(self.tracks), scores.to_numpy()
        about = parts.artist_of(self.tracks), parts.fold_of(self.tracks)
        overall = evaluate(labels, values, self.regression, None, *about).overall()
        artists = parts.about(self.tracks, "artist")
        drawn = draw(artists, RESAMPLES, parts.hash)
        resampled = resampled_metrics(labels, values, self.regression, drawn, 1, fold=about[1]).overall()
        row = {"corpus": self.name, "size": str(size), "tracks": len(train), "seconds": seconds}
        return row | {key: [overall[key], *map(float, resampled[key])] for key in SHOWN}


def trees(folders: list[Path], state: Path) -> None:
    """Measure every corpus, size and method that the state file lacks."""
    for folder in folders:
        corpus = Corpus(folder)
        for size, (method, fit) in product(SIZES[corpus.name], METHODS.items()):
            rows = _state(state)
            if not any(
                (row["corpus"], row["size"], row["method"]) == (corpus.name, str(size), method) for row in rows["trees"]
            ):
                rows["trees"].append({"method": method} | corpus.measure(fit, size))
                write_json(state, rows)
                print(corpus.name, size, method, f"{rows['trees'][-1]['pr_auc'][0]:.3f}", flush=True)


def _state(file: Path) -> dict[str, Any]:
    empty: dict[str, Any] = {"trees": [], "sound": []}
    return empty | read_json(file) if file.exists() else empty


def trees_page(rows: list[dict[str, Any]]) -> list[str]:
    lines = []
    for name in dict.fromkeys(row["corpus"] for row in rows):
        of_corpus = [row for row in rows if row["corpus"] == name]
        heads = [METRICS[key].label for key in SHOWN]
        lines += [f"### {name}", "", f"| training tracks | trees | {' | '.join(heads)} | PR-AUC less now's | CPU s |"]
        lines += ["|---:|---|" + "---|" * (len(SHOWN) + 1) + "---:|"]
        for row in of_corpus:
            now = next(one for one in of_corpus if (one["size"], one["method"]) == (row["size"], NOW))
            cells = [str(row["tracks"]), row["method"], *(_with_interval(row[key]) for key in SHOWN)]
            cells += [_against(row, now), f"{row['seconds']:.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return lines


def _resamples(values: list[float]) -> np.ndarray:
    return centred(np.array(values[1:], float), values[0])


def _with_interval(values: list[float]) -> str:
    low, high = np.quantile(_resamples(values), ENDS)
    return f"{values[0]:.3f} [{low:.3f}, {high:.3f}]"


def _against(row: dict[str, Any], now: dict[str, Any]) -> str:
    if row is now:
        return ""
    first, second = row["pr_auc"], now["pr_auc"]
    low, high = np.quantile(_resamples(first) - _resamples(second), ENDS)
    return f"{first[0] - second[0]:+.3f} [{low:+.3f}, {high:+.3f}]"


PROFILES = {
    "Krumhansl and Kessler 1982": (
        (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
        (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
    ),
    "Temperley 2007": (
        (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
        (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
    ),
    "Albrecht and Shanahan 2013 (now)": (harmony.MAJOR, harmony.MINOR),
}
WEIGHTINGS: dict[str, tuple[float, ...]] = {  # lags in beats of which the tempo's autocorrelation is the sum
    "autocorrelation": (1,),
    "autocorrelation at 1 and 4 beats (now)": (1, 4),
    "autocorrelation at 1, 2 and 4 beats": (1, 2, 4),
    "autocorrelation at 1, 2, 3 and 4 beats": (1, 2, 3, 4),
}
PRIORS = ((120, 0.9), (120, 0.5))  # beats per minute and octaves; the first is the descriptors'
SPECTRUM = 1200  # bins, to 2.3 kHz: a key is heard in what lies below
NOTES = "the composed notes, by length and strength"


def songs(number: int) -> dict[str, Any]:
    """What synth composed for a track of the default corpus: key, tempo, drums, and the chroma of its notes."""
    from tagscale.params.load import load
    from tagscale.synth import names
    from tagscale.synth.artists import Purpose, artist_of_track, generator, make_artist
    from tagscale.synth.compose import compose

    settings = load(RESULTS.parents[1] / "params.yaml").synth
    random = generator(settings.seed, Purpose.COMPOSITION, number)  # as synth.track.make_track draws
    artist = make_artist(artist_of_track(number, settings.artists, settings.seed), settings.seed)
    style = artist.styles[int(random.choice(len(artist.styles), p=artist.style_weights))]
    random.integers(len(artist.albums))
    names.title(random)
    song = compose(artist, style, settings.seconds, random)
    chroma = np.zeros(12)
    for note in (note for playing in song.playings for note in playing.notes):
        chroma[note.pitch % 12] += note.seconds * note.strength
    frame = song.frame
    facts = {"tonic": frame.tonic, "mode": frame.mode.tag, "bpm": frame.bpm, "drums": song.pattern is not None}
    return facts | {"notes": chroma}


def heard(samples: np.ndarray, notes: np.ndarray) -> dict[str, Any]:
    """Estimates of one track: `keys`, method -> mean chroma, and `tempi`, method -> beats per minute."""
    signal = samples.astype(np.float32) / 32768
    power = np.concatenate(list(describe._power(signal, describe.LONG_FRAME, describe.LONG_HOP, describe.LONG_BLOCK)))
    spectra = np.sqrt(power)
    spectra[:, SPECTRUM:] = 0
    steady, broad = np.zeros_like(spectra), np.zeros_like(spectra)
    steady[:, :SPECTRUM] = median_filter(spectra[:, :SPECTRUM], (7, 1))
    broad[:, :SPECTRUM] = median_filter(spectra[:, :SPECTRUM], (1, 31))
    harmonic = spectra * steady**2 / (steady**2 + broad**2 + 1e-12)
    bass = np.where(np.arange(spectra.shape[1]) * SAMPLE_RATE / describe.LONG_FRAME < 180, spectra, 0)
    whole, low, clean = (
        harmony.chroma_of(harmony.peaks_of(part)[0]).mean(axis=0) for part in (spectra, bass, harmonic)
    )
    keys = {"all peaks (now)": whole, "all peaks, bass below 180 Hz once more": whole + low, "harmonic part": clean}
    decibels = 20 * np.log10(
        np.sqrt(
            np.concatenate(list(describe._power(signal, describe.FRAME, describe.HOP, describe.BLOCK)))
            @ describe._mel_bank()
        )
        + 1e-5
    )
    tempi = _tempi(decibels, SAMPLE_RATE / describe.HOP)
    if find_spec("librosa"):
        librosa = import_module("librosa")
        keys["librosa, chroma_cqt"] = librosa.feature.chroma_cqt(y=signal, sr=SAMPLE_RATE).mean(axis=1)
        tempi["librosa, feature.tempo"] = float(librosa.feature.tempo(y=signal, sr=SAMPLE_RATE)[0])
    keys[NOTES] = notes
    return {"keys": {name: row.tolist() for name, row in keys.items()}, "tempi": tempi}


def _tempi(decibels: np.ndarray, rate: float) -> dict[str, float]:
    envelopes = rhythm._onset_envelopes(decibels, describe._mel_corners()[1:-1])
    level = envelopes - rhythm.uniform_filter1d(envelopes, round(rate), axis=1, mode="nearest")
    excerpts, tempogram = rhythm._tempogram(rhythm._blurred(level), round(rhythm.WINDOW_SECONDS * rate))
    overall, lags = tempogram[0].mean(axis=0), 60 * rate / rhythm.TEMPI
    length = excerpts.shape[2]
    spectrum = np.abs(np.fft.rfft(excerpts[0] * np.hanning(length), 4 * length)).mean(axis=0)
    pulse = np.interp(rhythm.TEMPI / 60, np.fft.rfftfreq(4 * length, 1 / rate), spectrum)
    curves = {
        name: np.sum([rhythm._at(overall, lags * number) for number in beats], axis=0)
        for name, beats in WEIGHTINGS.items()
    }
    curves["autocorrelation x Fourier tempogram"] = np.maximum(curves["autocorrelation"], 0) * pulse
    return {
        f"{name}; {centre}, {width}": float(
            rhythm.TEMPI[np.argmax(curve * np.exp(-0.5 * (np.log2(rhythm.TEMPI / centre) / width) ** 2))]
        )
        for name, curve in curves.items()
        for centre, width in PRIORS
    }


def sound(data: Path, count: int, state: Path) -> None:
    """Measure every so-manieth track of the default corpus that the state file lacks."""
    store, rows = Store.open(data / "store"), _state(state)
    tracks = Catalog.load(data / "catalog").tracks["track_id"].tolist()
    known = {row["track"] for row in rows["sound"]}
    for track in tracks[:: max(1, len(tracks) // count)]:
        if track not in known:
            truth = songs(int(track.rpartition("_")[2]) - 1)
            estimates = heard(store.read(track, 0, store.samples(track)), truth.pop("notes"))
            rows["sound"].append({"track": track} | truth | estimates)
            write_json(state, rows)


def sound_page(rows: list[dict[str, Any]]) -> list[str]:
    return [*_keys(rows), "", *_tempi_page(rows), "", *_pitches()] if rows else []


def _keys(rows: list[dict[str, Any]]) -> list[str]:
    rows = [row for row in rows if row["mode"] in ("major", "minor")]
    tonic, major = np.array([row["tonic"] for row in rows]), np.array([row["mode"] == "major" for row in rows])
    lines = [
        f"### Key, {len(rows)} tracks, {major.sum()} of them major",
        "",
        "| chroma | profiles | ROC-AUC | key | tonic |",
    ]
    lines += ["|---|---|---:|---:|---:|"]
    for chroma, (name, pair) in product(rows[0]["keys"], PROFILES.items()):
        profiles = np.array([np.roll(profile, shift) for profile in pair for shift in range(12)])
        values = np.array([row["keys"][chroma] for row in rows])
        fits = harmony._standardised(values) @ harmony._standardised(profiles).T / 12
        best, lead = fits.argmax(axis=1), fits[:, :12].max(axis=1) - fits[:, 12:].max(axis=1)
        right = best % 12 == tonic
        cells = roc_auc_score(major, lead), (right & ((best < 12) == major)).mean(), right.mean()
        lines.append(f"| {chroma} | {name} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    return lines


def _tempi_page(rows: list[dict[str, Any]]) -> list[str]:
    rows = [row for row in rows if row["drums"]]
    true = np.array([row["bpm"] for row in rows])
    lines = [
        f"### Tempo, {len(rows)} tracks with drums",
        "",
        "| method; centre and width of the prior | right | or by 2 or 3 |",
    ]
    lines += ["|---|---:|---:|"]
    for method in rows[0]["tempi"]:
        octaves = np.log2(np.array([row["tempi"][method] for row in rows]) / true)
        near = [np.abs(octaves - shift) < np.log2(1.04) for shift in (0, 1, -1, np.log2(3), -np.log2(3))]
        lines.append(f"| {method} | {near[0].mean():.2f} | {np.any(near, axis=0).mean():.2f} |")
    return lines


def _pitches() -> list[str]:
    """Where the strongest partial of synth's tones lies, over the written pitch."""
    from tagscale.synth.render import RENDER_RATE, Sampler
    from tagscale.synth.track import default_soundfont

    lines = ["### What synth plays", "", "| program | written pitch | its strongest partial |", "|---|---:|---:|"]
    asked = {"piano": (0, 60), "violin": (40, 60), "acoustic bass": (32, 45), "pan flute": (75, 60)}
    for name, (program, pitch) in asked.items():
        tone = Sampler(default_soundfont()).tones(program, {pitch: 1.5})[pitch][3000:35768]
        spectrum = np.abs(np.fft.rfft(tone * np.hanning(len(tone))))
        partial = 69 + 12 * np.log2(spectrum.argmax() * RENDER_RATE / len(tone) / 440)
        lines.append(f"| {name} ({program}) | {pitch} | {partial:.1f} |")
    return lines


SAYS = (
    "## What it says",
    "",
    "- Leaves and rounds that follow the tracks pay on few tracks and cost nothing on many. No other library is ahead "
    "of XGBoost beyond the intervals, and its file is safe: it stays. (LightGBM, which is measured where it is "
    "installed, was not ahead on the default corpus as it was composed before, nor on magnatune160.)",
    "- Tempo: the autocorrelation at four beats beside that at one settles most octaves. The Fourier tempogram finds a "
    "multiple of the tempo more often, and the tempo itself less often. librosa 0.11 finds the tempo in .68 of the "
    "tracks, and this in .79.",
    "- Key: from the audio, the tonic is right most often with the profiles of Albrecht and Shanahan, and the mode is "
    "told from ROC-AUC 0.9 on by all three. The composed notes themselves give a little more. The bass once more makes "
    "it worse, and with librosa's chroma the key is right in .62 of the tracks, and here in .74.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[], help="for the trees")
    parser.add_argument("--sound", type=Path, help="data folder of the default corpus, for key and tempo")
    parser.add_argument("--tracks", type=int, default=250, help="of them")
    parser.add_argument("--state", type=Path, default=Path("baseline.json"), help="what is measured, to go on from")
    parser.add_argument("--output", type=Path, default=RESULTS / "baseline.md")
    arguments = parser.parse_args()
    trees(arguments.data, arguments.state)
    if arguments.sound:
        sound(arguments.sound, arguments.tracks, arguments.state)
    rows = _state(arguments.state)
    lines = [
        "# The classic baseline",
        "",
        "`python benchmarks/baseline.py --data DATA --sound DATA`",
        "",
        f"{datetime.date.today()}, {processor()}, one thread, Python {platform.python_version()}. In brackets: "
        f"{CONFIDENCE:.0%} intervals by bootstrap over the test artists, {RESAMPLES} resamples, differences paired. "
        f"Descriptors of version {describe.VERSION}.",
        "",
        "## Trees",
        "",
        *trees_page(rows["trees"]),
        "Files: XGBoost's UBJSON and LightGBM's text hold data alone. scikit-learn's own way is a pickle, which can "
        "execute code when it is read.",
        "",
        "## Key and tempo, against what synth composed",
        "",
        *sound_page(rows["sound"]),
        "",
        *SAYS,
    ]
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
