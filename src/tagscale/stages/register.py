"""Stage register: the study's best front-end becomes a version in the registry, and champion if it passes the gate."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from tagscale import tracking
from tagscale.catalog.tables import Catalog
from tagscale.evaluation.metrics import METRICS, check_known, listing
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.registry.gate import WINDOW, Decision, Trial, judge, judge_again, same_test
from tagscale.registry.package import load_version, register
from tagscale.registry.promote import promote
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.versions import CHALLENGER, CHAMPION, Registry, Version
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, replacing, sha256_of, write_json
from tagscale.runtime.identity import RunIdentity, run_name
from tagscale.study.grid import read_study
from tagscale.training import checkpoint

ABOUT = (
    "Music taggers by tagscale. Column `audio` takes the bytes of audio files (WAV, FLAC, OGG, MP3); every tag gets a "
    "score in [0, 1]. `champion` is the version in use, `challenger` the newest that is not."
)
GATE = "tagscale.gate"  # a version's tag: the gate's decision
SHA256 = "tagscale.weights_sha256"


@dataclass(frozen=True)
class Candidate:
    """The study's best front-end run on the validation part, and its best baseline; the same on every machine."""

    candidate: str
    identity: dict[str, Any]
    train_tracks: int
    parameters: int
    weights_sha256: str
    valid: dict[str, float]
    test: dict[str, float]
    baseline: str | None
    baseline_test: dict[str, float]


def run(
    params: Params,
    *,
    runs: Sequence[Path],
    results: Sequence[Path],
    partition: Path,
    store: Path | str,
    catalog: Path,
    registration: Path,
) -> None:
    """Write candidate.json (the run; the same everywhere) and registration.json (the version and the gate's decision).

    A run of the same identity and weights is registered and judged only once. So a manual rollback stays in force.

    Args:
        runs, results: folders of the study's runs, baselines included; other folders among them are ignored
    Raises:
        TagscaleError: incomplete study, unknown registry.metric, no front-end that has it, or MLflow does not answer.
    """
    metric, window = params.registry.metric, params.evaluate
    check_known(metric, "registry.metric")
    chosen, trained, scored = _choose(params, runs, results)
    groups = Catalog.load(catalog).tags["group"].to_dict()
    model, architecture = checkpoint.load(trained)
    own_groups = {tag: groups[tag] for tag in architecture.tags}
    tagger = AudioTagger(model, architecture, window.hop_seconds, own_groups, window.window_seconds)
    registry = Registry.open_or_create(params.registry.name, ABOUT)
    data = {
        tracking.DATA_VERSION: params.dataset.version or tracking.UNPUBLISHED,
        tracking.SPLIT: Partition.load(partition).split,
    }
    version, is_new = _register(registry, params.tracking.experiment, chosen, tagger, data)
    champion = registry.holder(CHAMPION)
    decision = _earlier_decision(version, champion, metric)
    if decision is None:
        registry.set_alias(CHALLENGER, version.number)
        trial = Trial(catalog, partition, store, scored, window.hop_seconds, window.window_seconds)
        decision = _decide(version, champion, metric, trial)
        if decision.passed:
            promote(registry.name, version.number, why=decision.reason)
        registry.tag(version.number, {GATE: f"{'passed' if decision.passed else 'held back'}: {decision.reason}"})
    outcome = {
        "name": registry.name,
        "version": version.number,
        "alias": CHAMPION if registry.aliases().get(CHAMPION) == version.number else CHALLENGER,
        "candidate": chosen.candidate,
        "reason": decision.reason,
        "metric": metric,
        "candidate_value": decision.candidate_value,
        "champion_version": champion.number if champion else None,
        "champion_value": decision.champion_value,
        "baseline": chosen.baseline,
        "baseline_value": chosen.baseline_test.get(metric),
    }
    with replacing(registration) as fresh:
        fresh.mkdir()
        write_json(fresh / "candidate.json", asdict(chosen))
        write_json(fresh / "registration.json", outcome)
    _print_outcome(outcome, is_new)


def _choose(params: Params, runs: Sequence[Path], results: Sequence[Path]) -> tuple[Candidate, Path, Path]:
    """The candidate, the folder of its run and that of its results."""
    grid = params.train
    study = read_study(runs, results, models=grid.models, baselines=grid.baselines, sizes=grid.sizes, seeds=grid.seeds)
    metric = params.registry.metric
    best = _best(study.runs, study.models, metric)
    if best is None:
        choices = ", ".join(f"{one.key} ({' and '.join(one.kinds)} tags)" for one in METRICS.values())
        raise TagscaleError(
            f"No front-end of the study has a {METRICS[metric].label} on the validation part, so none can be chosen. "
            f"Set registry.metric in params.yaml to one that the tags have: {choices}."
        )
    baseline = _best(study.runs, study.baselines, metric)
    name = run_name(best["model"], best["size"], best["seed"])
    (trained,) = (folder for folder in map(Path, runs) if _name_of(folder / "run.json") == name)
    (scored,) = (folder for folder in map(Path, results) if _name_of(folder / "metrics.json") == name)
    chosen = Candidate(
        candidate=name,
        identity=read_json(trained / "run.json")["identity"],
        train_tracks=int(best["train_tracks"]),
        parameters=int(best["parameters"]),
        weights_sha256=sha256_of(trained / checkpoint.WEIGHTS),
        valid=_values(best, "valid"),
        test=_values(best, "test"),
        baseline=run_name(baseline["model"], baseline["size"], baseline["seed"]) if baseline is not None else None,
        baseline_test=_values(baseline, "test") if baseline is not None else {},
    )
    return chosen, trained, scored


def _best(table: pd.DataFrame, models: Sequence[str], metric: str) -> dict[str, Any] | None:
    """The row of the best run of these models on the validation part; on a tie, the first in the grid's order."""
    rows = table[table["model"].isin(models)].dropna(subset=[f"valid_{metric}"])
    ranked = rows.sort_values(f"valid_{metric}", ascending=METRICS[metric].lower_is_better, kind="stable")
    return dict(ranked.iloc[0]) if len(ranked) else None


def _name_of(file: Path) -> str | None:
    return RunIdentity(**read_json(file)["identity"]).name if file.is_file() else None


def _values(row: Mapping[str, Any], part: str) -> dict[str, float]:
    return {metric: float(row[f"{part}_{metric}"]) for metric in METRICS if not pd.isna(row[f"{part}_{metric}"])}


def _register(
    registry: Registry, experiment: str, chosen: Candidate, tagger: AudioTagger, data: dict[str, str]
) -> tuple[Version, bool]:
    """The candidate's version, and whether it is new; `data` are tags that name its data."""
    identity = RunIdentity(**chosen.identity)
    marks = tracking.identity_tags(identity) | {SHA256: chosen.weights_sha256}
    for version in registry.versions().values():
        if marks.items() <= version.tags.items():
            registry.tag(version.number, data)  # the data may have been published since
            return version, False
    with tracking.find_run(experiment, identity) as tracked:
        tags = (
            marks
            | data
            | {
                "tagscale.run": identity.name,
                "tagscale.git_commit": tracked.git_commit(),
                "tagscale.train_tracks": chosen.train_tracks,
                "tagscale.parameters": chosen.parameters,
                "tagscale.hop_seconds": tagger.hop_seconds,
                WINDOW: tagger.window_seconds,
            }
        )
        tags |= {f"tagscale.valid.{key}": value for key, value in chosen.valid.items()}
        tags |= {f"tagscale.test.{key}": value for key, value in chosen.test.items()}
        number = register(registry, tracked, tagger, identity.name, tags, _description(chosen, tagger))
    return registry.version(number), True


def _description(chosen: Candidate, tagger: AudioTagger) -> str:
    identity = RunIdentity(**chosen.identity)
    return (
        f"{identity.model} front-end trained on {chosen.train_tracks:,} tracks of {identity.dataset} (run "
        f"{identity.name}); {len(tagger.architecture.tags)} tags, {chosen.parameters:,} parameters. "
        f"On the test part: {listing(chosen.test)}"
        + (f"; the baseline {chosen.baseline}: {listing(chosen.baseline_test)}." if chosen.baseline else ".")
    )


def _earlier_decision(version: Version, champion: Version | None, metric: str) -> Decision | None:
    """The decision on a version that is champion or that the gate has judged before; None where the gate must judge."""
    value = version.test_metrics.get(metric)
    if champion is not None and champion.number == version.number:
        return Decision(
            True, f"this run is registered already, as version {version.number}, the champion", value, value
        )
    if GATE not in version.tags:
        return None
    reason = (
        f"this run is registered already, as version {version.number}, and was judged then ({version.tags[GATE]}); "
        f"`tagscale promote {version.number}` makes it champion by hand"
    )
    return Decision(False, reason, value, champion.test_metrics.get(metric) if champion else None)


def _decide(version: Version, champion: Version | None, metric: str, trial: Trial) -> Decision:
    value = version.test_metrics.get(metric)
    if champion is None:
        return Decision(True, "the first champion: there was none to compare with", value, None)
    same, recorded = same_test(version.tags, champion.tags), champion.test_metrics.get(metric)
    if same and recorded is not None:
        return judge(metric, value, recorded)
    try:
        tagger, _ = load_version(champion.name, champion.number)
    except TagscaleError as error:
        return Decision(False, f"the champion, version {champion.number}, cannot be scored: {error}", value, None)
    return judge_again(metric, tagger, trial, same)


def _print_outcome(outcome: Mapping[str, Any], is_new: bool) -> None:
    kept = "" if outcome["alias"] == CHAMPION or not outcome["champion_version"] else " (the champion stays)"
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{outcome['candidate']} {'is now' if is_new else 'is'} version {outcome['version']} of {outcome['name']}: "
        f"[bold]{outcome['alias']}[/]{kept}"
    )
    console.print(f"  {outcome['reason']}", markup=False)
