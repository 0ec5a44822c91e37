"""The hash of a run's content changes with what the run learned, whatever file that is in, and with nothing else."""

from pathlib import Path

import pytest

from tagscale.runtime.absent import write_absent
from tagscale.runtime.files import seal
from tagscale.runtime.identity import RUN, RunIdentity, content_of_run

HISTORY = "history.csv"
IDENTITY = RunIdentity("trees", "all", 0, "songs", "d", "p", "s").as_dict()


def write(folder: Path, learned: dict[str, str], seconds: float = 1.0, folds: int = 0) -> Path:
    """A run, or a run in folds of which the last one learned this and the others nothing."""
    folder.mkdir(parents=True)
    names = [f"fold-{number}" for number in range(1, folds + 1)]
    for name in names:
        write(folder / name, learned if name == names[-1] else {}, seconds)
    for name, content in {} if folds else learned.items():
        (folder / name).write_text(content)
    (folder / HISTORY).write_text(f"step,seconds\n1,{seconds}\n")
    facts = {"identity": IDENTITY, "train_tracks": 5, "parameters": 5, "seconds": seconds, "folds": folds}
    seal(folder, RUN, facts, [HISTORY, *(f"{name}/{RUN}" for name in names), *(() if folds else learned)])
    (folder / "logged.jsonl").write_text(f"{seconds}")
    return folder


@pytest.mark.parametrize("folds", [0, 3])
@pytest.mark.parametrize("file", ["weights.safetensors", "trees.ubj.gz", "members.json"])
def test_another_model_is_another_content(tmp_path: Path, file: str, folds: int) -> None:
    one, same, other = (
        write(tmp_path / name, {file: content}, seconds, folds)
        for name, content, seconds in (("one", "a", 1.0), ("same", "a", 2.0), ("other", "b", 1.0))
    )
    assert content_of_run(one) == content_of_run(same), "how long it took is no part of it"
    assert content_of_run(one) != content_of_run(other)


def test_another_identity_is_another_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write(tmp_path / "one", {"trees.ubj.gz": "a"})
    monkeypatch.setitem(IDENTITY, "seed", 1)
    assert content_of_run(one) != content_of_run(write(tmp_path / "other", {"trees.ubj.gz": "a"}))


def test_a_run_that_the_study_does_without_has_the_content_of_its_reason(tmp_path: Path) -> None:
    for name, reason in (("one", "no weights"), ("same", "no weights"), ("other", "another reason")):
        write_absent(tmp_path / name, "probe-all-0", reason)
    one, same, other = (content_of_run(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same != other
