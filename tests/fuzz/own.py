"""Each file that a stage writes, damaged before the next stage reads it.

The stage's result must be that of the whole project, or the stage must end in a message that names the file and a
command; that command must mend the project. The command is run as the user would run it, and then the stage again.
"""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

from fuzz import mutations
from fuzz.harness import ACCEPTED, BLOCKED, MESSAGE, RIGHT, TRACEBACK, Kind, Verdict, random_of
from fuzz.kills import in_child, run_stage, starting
from fuzz.project import NETWORK, STAGES, TREES, Ended, command, commands_in, copied, names_in, obey, result, working_in
from tagscale.store.grow import PartialStore
from tagscale.training import loop

Expected = dict[str, dict[str, str]]  # reader -> what it writes or prints on the whole project

CASES = 200
INTERRUPTED = 60  # cases of each file of an interrupted stage, which takes longer
MENDED = 8  # in every eighth case the commands are run; in the others they are read
SELDOM = 4  # in every fourth case another reader than the first
STEPS = 4  # commands that a user follows, one message after another

RESULTS = "results"
VERIFY = "store verify"
READERS: dict[str, tuple[str, ...]] = {  # file -> the stages or commands that read it
    "data/catalog/tracks.parquet": ("partition", "validate", "preprocess"),
    "data/catalog/labels.parquet": ("partition", "validate"),
    "data/catalog/tags.csv": ("partition", "validate"),
    "data/catalog/dataset.json": ("partition", "validate"),
    "data/store/store.json": ("describe", "preprocess", "validate"),
    "data/store/index.parquet": ("describe", "preprocess", "validate"),
    "data/store/sources.parquet": ("preprocess",),
    "data/store/rejected.csv": ("preprocess", "validate"),
    "data/store/shard-00000.bin": (VERIFY, "describe"),
    "data/.store-seen.parquet": ("preprocess",),
    "data/validation/quarantine.csv": ("partition",),
    "data/validation/validation.json": ("partition",),
    "data/partition/partition.parquet": (f"evaluate_baseline@{TREES}", "partition", f"train_baseline@{TREES}"),
    "data/partition/partition.json": (f"evaluate_baseline@{TREES}", "partition"),
    "data/partition/assigned.parquet": ("partition",),
    "data/descriptors/descriptors.parquet": (f"evaluate_baseline@{TREES}", "describe"),
    "data/descriptors/sources.parquet": ("describe",),
    f"runs/{NETWORK}/run.json": (f"evaluate@{NETWORK}", RESULTS),
    f"runs/{NETWORK}/model.json": (f"evaluate@{NETWORK}",),
    f"runs/{NETWORK}/weights.safetensors": (f"evaluate@{NETWORK}",),
    f"runs/{NETWORK}/history.csv": (RESULTS,),
    f"runs/{TREES}/trees.ubj.gz": (f"evaluate_baseline@{TREES}",),
    f"results/{NETWORK}/metrics.json": (RESULTS,),
    f"results/{NETWORK}/per_tag.csv": (RESULTS,),
    f"results/{NETWORK}/per_group.csv": (RESULTS,),
    f"results/{NETWORK}/resamples.parquet": (RESULTS,),
    f"results/{NETWORK}/predictions.parquet": ("register",),
    "registration/registration.json": (RESULTS,),
    "mlflow.db": ("history", f"evaluate_baseline@{TREES}"),
}


def half_a_store() -> tuple[int, str]:
    """Preprocess, killed after half of the tracks."""
    add = PartialStore.add

    def counted(store: PartialStore, *arguments: Any) -> None:
        add(store, *arguments)
        if len(store.done) == 12:
            os.kill(os.getpid(), signal.SIGKILL)

    PartialStore.add = counted
    return run_stage("preprocess")


def half_a_training() -> tuple[int, str]:
    """A training that saves a state after every step, killed before its fourth."""
    step_loss, loop.SAVE_SECONDS = loop.step_loss, 0.0

    def counted(state: Any, *arguments: Any) -> Any:
        if state.step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return step_loss(state, *arguments)

    loop.step_loss = counted
    return run_stage(f"train@{NETWORK}")


def interrupted(project: Path, folder: Path) -> dict[str, tuple[Path, str]]:
    """Killed preprocess and training: file that one left -> the project with it, and the stage that resumes."""
    files = {}
    for stage, work, left in (
        ("preprocess", half_a_store, "data/.store.partial"),
        (f"train@{NETWORK}", half_a_training, f"runs/{NETWORK}.unfinished"),
    ):
        place = folder / f"interrupted-{stage}"
        starting(project, place, stage, fresh=True)
        code, text = in_child(place, work)
        assert code == -signal.SIGKILL, f"{stage}: {text}"
        paths = [path for path in sorted((place / left).rglob("*")) if path.is_file() and path.stat().st_size]
        files |= {path.relative_to(place).as_posix(): (place, stage) for path in paths if path.name != "lock"}
    return files


def damaged(file: str, project: Path, number: int) -> tuple[str, bytes | None]:
    """What is done to a file in a case, and its new content; None: it is missing."""
    chance = random_of(file, number)
    content, kind = (project / file).read_bytes(), chance.random()
    if kind < 0.05:
        return "missing", None
    if kind < 0.12:
        others = [name for name in READERS if name != file and not name.endswith(".db") and (project / name).is_file()]
        other = chance.choice(others)
        return f"content of {other}", (project / other).read_bytes()
    if kind < 0.3 and file.endswith((".json", ".csv")):
        return mutations.any_of(mutations.TEXT, content, chance)
    return mutations.any_of(mutations.BYTES, content, chance)


def perform(reader: str) -> tuple[Ended, tuple[str, ...]]:
    """Run a stage or a command that reads the file. Returns how it ended, and the outputs that show its result."""
    stage = STAGES.get(reader)
    return (command(*stage.arguments), stage.outputs) if stage else (command(*reader.split()), ())


def judge(
    file: str, readers: tuple[str, ...], damaged_in: Path, project: Path, expected: Expected, number: int, place: Path
) -> Verdict:
    """Damage the file in a copy of the project, run its reader, follow the messages, and compare the result."""
    copied(damaged_in, place)
    how, content = damaged(file, damaged_in, number)
    reader = readers[0] if number % SELDOM else readers[number // SELDOM % len(readers)]
    if content is None:
        (place / file).unlink()
        content = b""
    else:
        (place / file).write_bytes(content)
    label = f"{how}, then {reader}"
    if file.startswith("data/store/shard") and reader != VERIFY and len(content) == (damaged_in / file).stat().st_size:
        return Verdict(RIGHT, "samples alone differ, which are for `store verify`")
    try:
        with working_in(place):
            return follow(file, project, expected, place, reader, label, number % MENDED == 0)
    except MemoryError:
        raise
    except Exception as error:
        where = error.__traceback__
        while where and where.tb_next:
            where = where.tb_next
        place_of = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else ""
        return Verdict(TRACEBACK, f"{label}: {type(error).__name__}: {error} ({place_of})")


def follow(file: str, project: Path, expected: Expected, place: Path, reader: str, label: str, mend: bool) -> Verdict:
    """Run the reader until it ends well, and between its messages the commands that they name."""
    said: list[str] = []
    ended, outputs = perform(reader)
    while ended.code:
        message = " ".join(ended.message.split())
        cell = Path(file).parent.name if file.startswith(("runs/", "results/")) else file
        if not said and not any(name in message for name in (Path(file).name, cell)):
            return Verdict(BLOCKED, f"{label}: the message does not name the file: {message}")
        if file.endswith((".db", ".bin")) and not said and reader != "validate":
            return Verdict(MESSAGE, message)  # what was lost cannot be made again by a command
        commands = [text for text in commands_in(message) if text not in said]
        if not commands or len(said) == STEPS:
            return Verdict(BLOCKED, f"{label}: {f'after {said}: ' if said else 'no command: '}{message}")
        if not mend:
            if any(makes(text, file) for text in commands):
                return Verdict(MESSAGE, f"{label}: {message}")
            return Verdict(BLOCKED, f"{label}: none of its commands makes the file: {message}")
        said.append(commands[0])
        mended = obey(commands[0], project, place)
        if mended.code:
            more = [text for text in commands_in(mended.message) if text not in said]
            if not more:
                return Verdict(BLOCKED, f"{label}: `{commands[0]}` ended with: {mended.message}")
            said.append(more[0])
            obey(more[0], project, place)
        ended, outputs = perform(reader)
    whole, found = expected[reader], result(place, outputs) | ({"output": ended.output} if not outputs else {})
    if whole != found:
        other = sorted(name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name))
        return Verdict(ACCEPTED, f"{label}{f', {said}' if said else ''}: other content of {', '.join(other)}")
    unread = set() if said else {file}  # missing, and the reader does without
    left = sorted((names_in(place) ^ names_in(project)) - unread)
    if left:
        return Verdict(BLOCKED, f"{label}{f', {said}' if said else ''}: left behind or missing: {', '.join(left[:5])}")
    return Verdict(MESSAGE if said else RIGHT, f"{label}{f', {said}' if said else ''}")


def makes(text: str, file: str) -> bool:
    """Whether a command writes the file, or something that the file is made of."""
    if text.split()[:2] in (["dvc", "repro"], ["dvc", "checkout"], ["make", "run"]):
        return True
    command_of: dict[str, int] = {}
    for number, stage in enumerate(STAGES.values()):
        command_of.setdefault(stage.arguments[0], number)
    maker = next((n for n, stage in enumerate(STAGES.values()) if any(file.startswith(o) for o in stage.outputs)), 0)
    return command_of.get(text.split()[1], len(STAGES)) <= maker


def left_alone(project: Path, folder: Path, reader: str) -> dict[str, str]:
    """What a reader writes, or prints, on the whole project."""
    place = folder / f"whole-{reader.replace(' ', '-')}"
    copied(project, place)

    def work() -> tuple[int, str]:
        ended, outputs = perform(reader)
        return ended.code, ended.message or json.dumps(result(place, outputs) or {"output": ended.output})

    code, text = in_child(place, work)
    assert code == 0, f"{reader}: {text}"
    shutil.rmtree(place)
    whole: dict[str, str] = json.loads(text)
    return whole


def kinds(project: Path, folder: Path) -> list[Kind]:
    readers = dict.fromkeys([*sum(READERS.values(), ()), f"train@{NETWORK}"])
    expected = {reader: left_alone(project, folder, reader) for reader in readers}

    def judging(file: str, readers: tuple[str, ...], damaged_in: Path, cases: int = CASES) -> Kind:
        def one(number: int, place: Path) -> Verdict:
            return judge(file, readers, damaged_in, project, expected, number, place)

        return Kind(f"own {file}", cases, one, 120, 1000, lives=20)

    left = interrupted(project, folder)
    return [
        *(judging(file, readers, project) for file, readers in READERS.items()),
        *(judging(file, (stage,), place, INTERRUPTED) for file, (place, stage) in left.items()),
    ]
