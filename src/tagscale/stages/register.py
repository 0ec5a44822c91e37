"""Stage register: the study's best run of any kind becomes a version in the registry, and champion past the gate.

The stage changes the registry, which lies outside the project's files. DVC does not know when the registry changes: a
lost database, another MLFLOW_TRACKING_URI, or a promotion by hand leaves the stage up to date, and a checkout brings
the folder `registration` back as it was. So the folder is a record of what the stage said when it ran, and whoever
wants to know what holds now asks the registry: `show` does, for `tagscale results`. Where the version is missing there,
`tagscale register` makes it from the run's folder. `dvc repro` does not ask each time, because it promises to do
nothing, and need no server, where nothing has changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from tagscale import tracking
from tagscale.catalog.tables import Catalog
from tagscale.evaluation.metrics import listing
from tagscale.models.spec import Role
from tagscale.params.blocks import AudioLimits
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.registry.candidate import Candidate, choose
from tagscale.registry.cost import cost_of, cost_words
from tagscale.registry.folds import folds_of
from tagscale.registry.gate import FOLDS, WINDOW, Decision, Trial, judge, judge_again, same_test
from tagscale.registry.package import load_version, register
from tagscale.registry.promote import move
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.trained import scorer_of
from tagscale.registry.versions import CHALLENGER, CHAMPION, NoSuchModel, Registry, Version
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing, write_json
from tagscale.runtime.identity import RunIdentity, hash_of
from tagscale.study.tables import read_decisions

ABOUT = (
    "Music taggers by tagscale. Column `audio` takes the bytes of audio files (WAV, FLAC, OGG, MP3); every tag gets a "
    "score in [0, 1]. `champion` is the version in use, `challenger` the newest that is not."
)
GATE = "tagscale.gate"  # a version's tag: the gate's decision
KINDS: dict[Role, str] = {  # what a candidate is, in the description of its version
    "front-end": "front-end",
    "pretrained": "pretrained encoder",
    "published baseline": "network (a published baseline)",
    "descriptors": "with trees",
    "ensemble": "(the weighted mean of several models)",
}
NEITHER = "neither champion nor challenger"


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

    A run of the same identity and weights is registered and judged only once, also by two processes at once. So a
    manual rollback stays in force.

    Args:
        runs, results: folders of the study's runs, baselines included; other folders among them are ignored
    Raises:
        TagscaleError: incomplete study, unknown registry.metric, no run that has it, or MLflow does not answer.
    """
    metric = params.registry.metric
    chosen, study = choose(params, runs, results)
    trained, scored = study.folders[chosen.candidate]
    groups = Catalog.load(catalog).tags["group"].to_dict()
    scorer = scorer_of(trained, {name: run for name, (run, _) in study.folders.items()}, params.evaluate)
    own_groups = {tag: groups[tag] for tag in scorer.tags}
    tagger = AudioTagger(scorer, own_groups, AudioLimits.of(params.validation), read_decisions(scored))
    registry = Registry.open_or_create(params.registry.name, ABOUT)
    parts = Partition.load(partition)
    data = {
        tracking.DATA_VERSION: params.dataset.version or tracking.UNPUBLISHED,
        tracking.SPLIT: parts.split,
    } | ({FOLDS: hash_of(parts.settings)} if parts.folds else {})
    version, is_new = _register(registry, params, chosen, trained, tagger, data)
    trial = Trial(catalog, partition, store, scored)
    decision, champion = _judge(registry, version.number, metric, trial)
    outcome = {
        "name": registry.name,
        "version": version.number,
        "alias": _alias_of(registry, version),
        "candidate": chosen.candidate,
        "role": chosen.role,
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
    _print_outcome(outcome, is_new, cost_words(version.tags))


def _register(
    registry: Registry, params: Params, chosen: Candidate, trained: Path, tagger: AudioTagger, data: dict[str, str]
) -> tuple[Version, bool]:
    """The candidate's version, and whether it is new; `data` are tags that name its data."""
    identity = RunIdentity(**chosen.identity)
    if version := registry.find(chosen.marks):
        registry.tag(version.number, data)  # the data may have been published since
        return version, False
    with tracking.find_run(params.tracking.experiment, identity, trained) as tracked:
        tags: dict[str, Any] = chosen.marks | data
        tags |= {
            "tagscale.run": identity.name,
            "tagscale.git_commit": tracked.git_commit(),
            "tagscale.train_tracks": chosen.train_tracks,
            "tagscale.parameters": chosen.parameters,
            "tagscale.hop_seconds": params.evaluate.hop_seconds,
            WINDOW: params.evaluate.window_seconds,
        }
        tags |= {f"tagscale.valid.{key}": value for key, value in chosen.valid.items()}
        tags |= {f"tagscale.test.{key}": value for key, value in chosen.test.items()}
        tags |= cost_of(tagger).tags
        about = _description(chosen, tagger, cost_words(tags))
        number = register(registry, tracked, tagger, identity.name, tags, about, marks=chosen.marks)
    return registry.version(number), True


def _description(chosen: Candidate, tagger: AudioTagger, cost: str) -> str:
    identity = RunIdentity(**chosen.identity)
    folds = folds_of(tagger.scorer)
    kind = KINDS[chosen.role] + (f", the mean of {folds} models, a fold each," if folds else "")
    return (
        f"{identity.model} {kind} trained on {chosen.train_tracks:,} tracks of {identity.dataset} (run "
        f"{identity.name}); {len(tagger.tags)} tags, {chosen.parameters:,} parameters, {cost}. "
        f"On the test part: {listing(chosen.test)}"
        + (f"; the baseline {chosen.baseline}: {listing(chosen.baseline_test)}." if chosen.baseline else ".")
    )


def _judge(registry: Registry, number: str, metric: str, trial: Trial) -> tuple[Decision, Version | None]:
    """Let the gate judge a version and move the aliases; the decision, and the champion that it was held against.

    Nobody waits for the gate, which may take minutes. If another process has moved the champion meanwhile, or judged
    the same version, the decision is made anew.
    """
    while True:
        version, champion = registry.version(number), registry.holder(CHAMPION)
        if decision := _earlier_decision(version, champion, metric):
            return decision, champion
        decision = _decide(version, champion, metric, trial)
        with registry.one_writer():
            present = registry.aliases().get(CHAMPION)
            if present != (champion.number if champion else None) or GATE in registry.version(number).tags:
                continue
            registry.set_alias(CHALLENGER, number)
            if decision.passed:
                move(registry, "promote", number, present, why=decision.reason)
            registry.tag(number, {GATE: f"{'passed' if decision.passed else 'held back'}: {decision.reason}"})
            return decision, champion


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
    same_folds = version.tags.get(FOLDS) == champion.tags.get(FOLDS) is not None
    return judge_again(metric, tagger, trial, same, same_folds)


def show(params: Params, *, runs: Sequence[Path], results: Sequence[Path]) -> None:
    """Print what the registry says of the study's candidate now. Writes nothing, and raises nothing.

    Args:
        runs, results: as for `run`
    """
    Console(highlight=False, soft_wrap=True).print(_standing(params, runs, results), markup=False)


def _standing(params: Params, runs: Sequence[Path], results: Sequence[Path]) -> str:
    """The candidate's place in the registry, in a sentence or two."""
    try:
        chosen, _ = choose(params, runs, results)
    except TagscaleError as error:
        return f"Registered: nothing, for there is no candidate. {error}"
    missing = (
        f"Registered: not {chosen.candidate}, the best run. The registry at {tracking.registry_uri()} has no version "
        "of it. `tagscale register` makes one from the run's folder."
    )
    try:
        registry = Registry.open(params.registry.name)
        version, champion = registry.find(chosen.marks), registry.holder(CHAMPION)
        alias = _alias_of(registry, version) if version else None
    except NoSuchModel:
        return missing
    except TagscaleError as error:
        return f"Registered: unknown, for the registry cannot be asked. {error}"
    rest = ""
    if champion and alias != CHAMPION:
        rest = f" The champion is version {champion.number} ({champion.tags.get('tagscale.run', 'no run')})."
    if version is None:
        return missing + rest
    gate = version.tags.get(GATE, "not judged yet, `tagscale register` judges it")
    number = f"{registry.name} version {version.number} ({chosen.candidate})"
    cost = cost_words(version.tags)
    cost = f" Its cost: {cost}." if cost else ""
    return f"Registered: {number}, {alias or NEITHER}.{rest} The gate: {gate}.{cost}"


def _alias_of(registry: Registry, version: Version) -> str | None:
    """The alias that the version holds now."""
    return next((alias for alias in (CHAMPION, CHALLENGER) if registry.aliases().get(alias) == version.number), None)


def _print_outcome(outcome: Mapping[str, Any], is_new: bool, cost: str) -> None:
    kept = "" if outcome["alias"] == CHAMPION or not outcome["champion_version"] else " (the champion stays)"
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{outcome['candidate']} {'is now' if is_new else 'is'} version {outcome['version']} of {outcome['name']}: "
        f"[bold]{outcome['alias'] or NEITHER}[/]{kept}"
    )
    console.print(f"  {outcome['reason']}", markup=False)
    if cost:
        console.print(f"  {cost}", markup=False)
