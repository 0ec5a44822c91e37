"""The project's folder is the current one, or the one that DVC copied for an experiment."""

from pathlib import Path

import pytest

from tagscale.runtime.project import project_folder


def test_only_a_copy_for_an_experiment_stands_for_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, copy, other = (
        tmp_path / "project",
        tmp_path / "project" / ".dvc" / "tmp" / "exps" / "a",
        tmp_path / "other",
    )
    for folder in (copy, other):
        folder.mkdir(parents=True)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(copy)
    assert project_folder() == copy
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert project_folder() == project
    for folder in (project, other):
        monkeypatch.chdir(folder)
        assert project_folder() == folder
