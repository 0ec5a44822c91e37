"""The gate's page for three candidates: a clear win, an equal one, and one that loses in a guarded group.

    python benchmarks/gate_cases.py PROJECT [--champion ensemble-all-0] [--output benchmarks/results/gate-cases]

PROJECT is a finished study, as `make run` leaves it. All scores are those of one of its runs in log-odds, with noise a
track and tag. The equal candidate has other noise than the champion; the win is moved towards the labels, too; the loss
likewise, but for one group, which gets more noise. So the data are a study's, and what is true of each candidate is
known. Writes gate.json, gate.html and gate.png of each case to a folder of its name.
"""

import argparse
from pathlib import Path

import numpy as np

from tagscale.catalog.tables import Catalog
from tagscale.evaluation.decisions import logit
from tagscale.evaluation.metrics import main_metric
from tagscale.params.load import load
from tagscale.partition.divide import Partition
from tagscale.registry import gate as gates
from tagscale.registry.gate import Verdict
from tagscale.registry.looks import Look
from tagscale.registry.paired import Paired, Tracks, power
from tagscale.report import gate as page
from tagscale.runtime.files import write_json
from tagscale.study.tables import read_predictions

METRIC = main_metric("classification").key
NOISE, TOWARDS, LOST = 0.1, 0.5, 2.0  # in log-odds


def scores_of(project: Path, run: str, parts: Partition) -> np.ndarray:
    """Scores of the test tracks, (tracks, tags)."""
    places = (project / "results" / run, project / "ensembles" / "results" / run)
    of_part, scores = read_predictions(next(place for place in places if place.exists()))
    return scores[(of_part == "test").to_numpy()].loc[parts.tracks("test"), parts.tags].to_numpy()


def changed(
    scores: np.ndarray, tracks: Tracks, seed: int, towards: float = 0.0, worse: str | None = None
) -> np.ndarray:
    """Scores with noise, moved towards the labels, but for the tags of one group."""
    random = np.random.default_rng(seed)
    labels = np.where(np.isnan(tracks.labels), 0.5, tracks.labels)
    odds = logit(scores) + NOISE * random.standard_normal(scores.shape) + towards * (2 * labels - 1)
    lost = np.array([group == worse for group in tracks.groups])
    odds[:, lost] = logit(scores)[:, lost] + LOST * random.standard_normal((len(scores), lost.sum()))
    return np.where(tracks.regression, scores, 1 / (1 + np.exp(-odds)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--champion", default="ensemble-all-0")
    parser.add_argument("--guarded", default="mood")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/gate-cases"))
    arguments = parser.parse_args()
    parts, catalog = (
        Partition.load(arguments.project / "data/partition"),
        Catalog.load(arguments.project / "data/catalog"),
    )
    tracks = Tracks.of(catalog, parts, "test", parts.tags)
    scores = scores_of(arguments.project, arguments.champion, parts)
    settings = load(Path("params.yaml")).registry.gate
    settings = settings.model_copy(update={"guard": {arguments.guarded: 0.02}})
    theirs = tracks.score(changed(scores, tracks, 0), None)
    floor = tracks.score(scores_of(arguments.project, "descriptors-all-0", parts), None)
    level = settings.error / settings.looks
    cases = {"win": (TOWARDS, None), "equal": (0.0, None), "loss": (TOWARDS, arguments.guarded)}
    for number, (name, (towards, worse)) in enumerate(cases.items(), 1):
        ours = tracks.score(changed(scores, tracks, number, towards, worse), None)
        paired = Paired(tracks, ours, theirs)
        gap, below = paired.overall(METRIC), Paired(tracks, ours, floor).in_table(METRIC)
        assert gap is not None
        look = Look(number, level, number * level, settings.error, settings.looks, "")
        mood = paired.among(
            METRIC, [tag for tag, own in zip(tracks.tags, tracks.groups, strict=True) if own == arguments.guarded]
        )
        checks = (
            gates.check_looks(settings, look),
            gates.check_floor("baseline", below, settings.error, whose="descriptors (descriptors-all-0)"),
            gates.check_guard(arguments.guarded, mood, 0.02),
            gates.check_difference(settings, gap, look),
        )
        about = {
            "hash": "of-a-study",
            "tracks": len(tracks.labels),
            "artists": tracks.artists,
            "tags": len(tracks.tags),
        }
        chances = {f"{gain:g}": round(power(gain, gap.error, gap.degrees, level), 4) for gain in (0.01, 0.02, 0.05)}
        foresight = {"artists": tracks.artists, "error": gap.error, "level": level, "chances": chances}
        verdict = Verdict(
            METRIC,
            settings.rule,
            settings.margin,
            "1",
            checks,
            (gap.candidate, gap.other),
            paired.groups(METRIC),
            look,
            about | {"lone": paired.lone(METRIC)},
            foresight | {"from": "of the difference to the champion on this test part"},
        )
        folder = arguments.output / name
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "gate.json", verdict.record())
        outcome = {"name": "tagscale-tagger", "version": str(number + 1), "cost": "", "candidate": name}
        outcome |= {"alias": "champion" if verdict.passed else "challenger"}
        page.write(folder, verdict.record(), outcome)
        print(f"{name}: {'passed' if verdict.passed else 'held back'}: {verdict.reason}")


if __name__ == "__main__":
    main()
