"""Where the weights of published encoders are looked for."""

from pathlib import Path

import pytest

from tagscale.training.encoders import PLACE, pretrained_folder


def test_the_folder_of_the_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's, the project's, the user's; a project has one from its beginning."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PLACE, raising=False)
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert pretrained_folder() == Path("/home/ann/.local/share/tagscale/pretrained")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert pretrained_folder() == Path("/home/ann/.local/share/tagscale/pretrained"), "to be ignored, says the standard"
    monkeypatch.setenv("XDG_DATA_HOME", "/data/ann")
    assert pretrained_folder() == Path("/data/ann/tagscale/pretrained")
    (tmp_path / "pretrained").mkdir()
    assert pretrained_folder() == tmp_path / "pretrained"
    monkeypatch.setenv(PLACE, "/opt/pretrained")
    assert pretrained_folder() == Path("/opt/pretrained")
