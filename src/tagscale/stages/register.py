"""Stage register: the study's best run of any kind becomes a version in the registry, and champion past the gate.

The stage changes the registry, which lies outside the project's files. DVC does not know when the registry changes: a
lost database, another MLFLOW_TRACKING_URI, or a promotion by hand leaves the stage up to date, and a checkout brings
the folder `registration` back as it was. So the folder is a record of what the stage said when it ran, and whoever
wants to know what holds now asks the registry: `show` does, for `tagscale results`. Where the version is missing there,
`tagscale register` makes it from the run's folder. `dvc repro` does not ask each time, because it promises to do
nothing, and need no server, where nothing has changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tagscale import SAMPLE_RATE, tracking
from tagscale.evaluation.metrics import listing
from tagscale.models.spec import Role, role_of
from tagscale.params.blocks import AudioLimits
from tagscale.params.load import Params
from tagscale.registry.candidate import Candidate, candidate_of, choose
from tagscale.registry.card import card_of_run, has_card, keep_card
from tagscale.registry.cost import cost_of, cost_words
from tagscale.registry.folds import folds_of
from tagscale.registry.judgement import judge
from tagscale.registry.package import register
from tagscale.registry.profile import EMBEDDED_SECONDS, Profile, profile_of
from tagscale.registry.promote import GATE, Incumbent
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.trained import scorer_of
from tagscale.registry.trial import EVALUATED, FOLDS, WINDOW, Trial, kept_files
from tagscale.registry.versions import CHALLENGER, CHAMPION, NoSuchModel, Registry, Version
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing, write_json
from tagscale.runtime.identity import RunIdentity, hash_of
from tagscale.store.read import Store
from tagscale.study.tables import read_decisions

ABOUT = (
    "Music taggers by tagscale. Column `audio` takes the bytes of audio files (WAV, FLAC, OGG, MP3); every tag gets a "
    "score in [0, 1]. `champion` is the version in use, `challenger` the newest that is not."
)
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

    There `candidate_test` and `baseline_value` are the test scores that the report shows. `candidate_value` and
    `champion_value` are those that the gate compared: with a champion, without the tags of one artist alone.

    A run of the same identity and weights is registered only once, also by two processes at once, and judged only once
    where the gate looked at the test part. A manual rollback stays in force. Where there is no champion to compare
    with, and the candidate is below a model of its floor, that model is registered, too, and becomes champion in its
    place (`stand_in` of registration.json is its version). Where nobody is champion and somebody was, `vacant` is the
    version that a rollback makes champion again, or null.

    Args:
        runs, results: folders of the study's runs, baselines included; other folders among them are ignored
    Raises:
        TagscaleError: incomplete study, unknown registry.metric, no run that has it, or MLflow does not answer.
    """
    chosen, study = choose(params, runs, results)

    def trial_of(candidate: Candidate) -> Trial:
        return Trial(params, catalog, partition, store, candidate, study)

    trial = trial_of(chosen)
    trial.check_settings()
    registry = Registry.open_or_create(params.registry.name, ABOUT)
    entry = _enter(registry, trial, store)
    stand_in, others = _stand_in(registry, entry, lambda candidate: _enter(registry, trial_of(candidate), store))
    incumbent = Incumbent.of(registry)
    outcome = entry.outcome | ({"stand_in": stand_in} if stand_in else {})
    outcome |= {"vacant": incumbent.number} if incumbent.vacant else {}
    verdict = entry.verdict
    with replacing(registration) as fresh:
        fresh.mkdir()
        write_json(fresh / "candidate.json", asdict(chosen))
        write_json(fresh / "registration.json", outcome)
        write_json(fresh / "gate.json", verdict)
        _write_page(fresh, verdict, outcome, cost_words(entry.version.tags))
    if entry.is_fresh:
        trained, _ = study.folders[chosen.candidate]
        with tracking.find_run(params.tracking.experiment, RunIdentity(**chosen.identity), trained) as tracked:
            for file in sorted(registration.glob("gate.*")):
                tracked.log_artifacts(file, "gate")
    lines = [cost_words(entry.version.tags), f"warning: {verdict['warning']}" if verdict["warning"] else ""]
    _print_outcome(outcome, entry.is_new, [*lines, f"the verdict's page: {registration / 'gate.html'}"])
    for one in others:
        _print_outcome(one.outcome, one.is_new, [cost_words(one.version.tags)])


@dataclass(frozen=True)
class _Entry:
    """A run that was registered and judged.

    is_new: the version was made now; is_fresh: it was judged now
    """

    trial: Trial
    version: Version
    verdict: dict[str, Any]
    outcome: dict[str, Any]
    is_new: bool
    is_fresh: bool


def _enter(registry: Registry, trial: Trial, store: Path | str) -> _Entry:
    """Make a version of the trial's candidate, and let the gate judge it."""
    params, chosen, study, parts = trial.params, trial.chosen, trial.study, trial.parts
    trained, scored = study.folders[chosen.candidate]
    groups = trial.catalog.tags["group"].to_dict()
    scorer = scorer_of(trained, {name: run for name, (run, _) in study.folders.items()}, params.evaluate)
    own_groups = {tag: groups[tag] for tag in scorer.tags}
    tagger = AudioTagger(scorer, own_groups, AudioLimits.of(params.validation), read_decisions(scored))
    data = {
        tracking.DATA_VERSION: params.dataset.version or tracking.UNPUBLISHED,
        tracking.SPLIT: parts.split,
    } | ({FOLDS: hash_of(parts.settings)} if parts.folds else {})
    version, is_new = _register(registry, params, trial, tagger, data, store)
    verdict, before = judge(registry, version.number, trial, tagger)
    if before is None or not has_card(version):
        version = registry.version(version.number)  # with the gate's decision
        keep_card(registry, version, card_of_run(trial, tagger, version))
    outcome = {
        "name": registry.name,
        "version": version.number,
        "alias": _alias_of(registry, version),
        "candidate": chosen.candidate,
        "role": chosen.role,
        "reason": before or verdict["reason"],
        "metric": params.registry.metric,
        "candidate_value": verdict["candidate_value"],
        "candidate_test": chosen.test.get(params.registry.metric),
        "champion_version": verdict["champion"],
        "champion_value": verdict["champion_value"],
        "baseline": chosen.baseline,
        "baseline_value": chosen.baseline_test.get(params.registry.metric),
        "look": verdict["look"] and verdict["look"]["number"],
    }
    return _Entry(trial, version, verdict, outcome, is_new, before is None)


def _stand_in(
    registry: Registry, entry: _Entry, enter: Callable[[Candidate], _Entry]
) -> tuple[str | None, list[_Entry]]:
    """The model of the floor that is champion in place of a candidate below it, where there was no champion before.

    Without it, a candidate that is level with its floor would leave a new project without a champion by the toss of a
    coin. A model of the floor meets the same gate; the candidate stays the challenger.

    Returns:
        the champion's version, and what was registered for this
    """
    entered: list[_Entry] = []
    if entry.verdict["champion"] is not None:
        return None, entered
    settings, study = entry.trial.params.registry, entry.trial.study
    floors = [check["subject"] for check in entry.verdict["checks"] if not check["passed"] and check["name"] == "floor"]
    for run in filter(None, map(entry.trial.floor_run, floors)):
        if role_of(run["model"]) not in settings.candidates:
            continue
        candidate = candidate_of(run, study, settings.metric)
        if registry.holder(CHAMPION) is None:
            entered.append(enter(candidate))
            with registry.one_writer():
                registry.set_alias(CHALLENGER, entry.version.number)
        version, champion = registry.find(candidate.marks), registry.holder(CHAMPION)
        if version and champion and version.number == champion.number:
            return version.number, entered
    return None, entered


def _write_page(folder: Path, verdict: Mapping[str, Any], outcome: Mapping[str, Any], cost: str) -> None:
    from tagscale.report import gate  # here: it loads matplotlib, which nothing else of the stage needs

    vacancy = {"vacancy": _vacancy(outcome["vacant"])} if "vacant" in outcome else {}
    gate.write(folder, dict(verdict), dict(outcome) | {"cost": cost} | vacancy)


def _profile(trial: Trial, tagger: AudioTagger, address: Path | str) -> Profile:
    """Of the test part, from what evaluate and preprocess wrote, and embeddings of some tracks."""
    tracks, store, scorer = trial.parts.tracks("test"), Store.open(address), tagger.scorer

    def embed(some: Sequence[str]) -> np.ndarray:
        return np.stack([scorer.embed(_middle(store, track)) for track in some])

    scores = trial.candidate.scores("test")
    if trial.parts.folds:  # served files are scored by the mean of the models, whose values are less extreme
        scores = (scores + trial.candidate.scores("valid")) / 2
    return profile_of(
        scores[list(tagger.tags)],
        store.facts,
        trial.parts.artist_of(tracks),
        trial.catalog.tracks.set_index("track_id")["path"].loc[tracks].tolist(),
        tagger.warnings,
        trial.parts.folds,
        embed if scorer.dims and not trial.parts.folds else None,
    )


def _middle(store: Store, track: str) -> np.ndarray:
    whole = store.samples(track)
    count = min(whole, round(EMBEDDED_SECONDS * SAMPLE_RATE))
    return store.read(track, (whole - count) // 2, count)


def _register(
    registry: Registry, params: Params, trial: Trial, tagger: AudioTagger, data: dict[str, str], store: Path | str
) -> tuple[Version, bool]:
    """The candidate's version, and whether it is new; `data` are tags that name its data."""
    chosen = trial.chosen
    identity, (trained, scored) = RunIdentity(**chosen.identity), trial.study.folders[chosen.candidate]
    if version := registry.find(chosen.marks):
        registry.tag(version.number, data)  # the data may have been published since
        return version, False
    tagger.profile = _profile(trial, tagger, store)
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
        for file in kept_files(scored):
            tracked.log_artifacts(file, EVALUATED)
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


def show(params: Params, *, runs: Sequence[Path], results: Sequence[Path]) -> None:
    """Print what the registry says of the study's candidate now. Writes nothing, and raises nothing.

    Args:
        runs, results: as for `run`
    """
    print(_standing(params, runs, results), flush=True)


def _standing(params: Params, runs: Sequence[Path], results: Sequence[Path]) -> str:
    """The candidate's place in the registry, and the gate's verdict: two lines."""
    try:
        chosen, _ = choose(params, runs, results)
    except TagscaleError as error:
        return f"Registered: nothing, for there is no candidate. {error}"
    missing = (
        f"Registered: not {chosen.candidate}, the best run. The registry at "
        f"{tracking.shown(tracking.registry_uri())} has no version of it. `tagscale register` makes one "
        "from the run's folder."
    )
    try:
        registry = Registry.open(params.registry.name)
        version, incumbent = registry.find(chosen.marks), Incumbent.of(registry)
        alias = _alias_of(registry, version) if version else None
    except NoSuchModel:
        return missing
    except TagscaleError as error:
        return f"Registered: unknown, for the registry cannot be asked. {error}"
    rest, champion = f" {_vacancy(incumbent.number)}" if incumbent.vacant else "", incumbent.version
    if champion and incumbent.alias and alias != CHAMPION:
        rest = f" The champion is version {champion.number} ({champion.tags.get('tagscale.run', 'no run')})."
    if version is None:
        return missing + rest
    gate = version.tags.get(GATE, "not judged yet, `tagscale register` judges it")
    number = f"{registry.name} version {version.number} ({chosen.candidate})"
    cost = cost_words(version.tags)
    cost = f" Its cost: {cost}." if cost else ""
    return f"Registered: {number}, {alias or NEITHER}.{rest}{cost}\nThe gate: {gate}."


def _alias_of(registry: Registry, version: Version) -> str | None:
    """The alias that the version holds now."""
    held = registry.aliases()
    return next((alias for alias in (CHAMPION, CHALLENGER) if held.get(alias) == version.number), None)


def _vacancy(last: str | None) -> str:
    """That nobody is champion, and what to do, where somebody was."""
    if last is None:
        return "Nobody is champion, and no version that was still exists: `tagscale promote` makes one champion."
    return f"Nobody is champion: `tagscale rollback` makes version {last}, the last that still exists, champion again."


def _print_outcome(outcome: Mapping[str, Any], is_new: bool, lines: Sequence[str]) -> None:
    stays = outcome["alias"] != CHAMPION and outcome["champion_version"] and "vacant" not in outcome
    kept = " (the champion stays)" if stays else ""
    print(
        f"{outcome['candidate']} {'is now' if is_new else 'is'} version {outcome['version']} of {outcome['name']}: "
        f"{outcome['alias'] or NEITHER}{kept}"
    )
    vacancy = [_vacancy(outcome["vacant"])] if "vacant" in outcome else []
    print(*(f"  {line}" for line in (outcome["reason"], *vacancy, *lines) if line), sep="\n", flush=True)
