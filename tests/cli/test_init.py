"""`tagscale init` and what it writes: the same stages as the repository's, by the digests of the installed code."""

import shutil
import stat
from pathlib import Path

import pytest
import yaml

import tagscale
from tagscale.cli import main
from tagscale.cli.init import CODE, stages_of_study
from tagscale.params.load import load, read_yaml
from tagscale.runtime import project
from tagscale.runtime.files import sha256_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    main_ends_well("init", "my study")
    return tmp_path / "my study"


def main_ends_well(*words: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert end.value.code == 0


def main_ends_badly(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert end.value.code == 1
    return capsys.readouterr().err


def test_a_study_has_the_files_of_the_repository(study: Path) -> None:
    for file in (".gitignore", ".dvcignore", ".dvc/config", ".dvc/plots/per_tag.json", "presets/own.yaml"):
        assert (study / file).read_bytes() == (ROOT / file).read_bytes()
    settings = load(study / "params.yaml")
    assert settings.tracking.experiment == "my study"
    assert settings.model_dump(exclude={"tracking"}) == load(ROOT / "params.yaml").model_dump(exclude={"tracking"})
    assert "# my study\n" in (study / "README.md").read_text()
    assert (study / ".git").is_dir()
    assert (study / "pretrained" / "README.md").is_file(), "a dependency of stage encode"
    assert stat.S_IMODE(study.stat().st_mode) == stat.S_IMODE((study / "presets").stat().st_mode)


def test_its_stages_are_those_of_the_repository(study: Path) -> None:
    """They differ in nothing but the names of the code that they depend on."""
    own, repository = read_yaml(study / "dvc.yaml"), read_yaml(ROOT / "dvc.yaml")
    assert own["stages"].pop("code")["outs"] == [{CODE: {"cache": False}}]
    text = yaml.safe_dump(own).replace(f"{CODE}/", "src/tagscale/").replace(".sha256", "")
    assert yaml.safe_load(text) == repository
    assert "src/" not in stages_of_study((ROOT / "dvc.yaml").read_text())


def test_the_digests_are_those_of_the_installed_code(study: Path) -> None:
    package = Path(tagscale.__file__).parent
    for stage in read_yaml(study / "dvc.yaml")["stages"].values():
        for dep in [dep for dep in stage.get("deps", []) if dep.startswith(CODE)]:
            name = dep.removeprefix(f"{CODE}/").removesuffix(".sha256")
            lines = [line.split("  ") for line in (study / dep).read_text().splitlines()]
            place = package / name
            files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
            expected = {str(file.relative_to(package)) for file in files if "__pycache__" not in file.parts}
            assert {file for _, file in lines} == expected
            assert all(sha256_of(package / file) == digest for digest, file in lines)


def test_a_folder_with_files_is_refused(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(study.rglob("*"))
    assert "my study: not an empty folder" in main_ends_badly(capsys, "init", "my study")
    assert sorted(study.rglob("*")) == before


def test_an_empty_folder_becomes_a_study_and_a_repository_around_it_stays(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (study / "inner").mkdir()
    monkeypatch.chdir(study / "inner")
    main_ends_well("init", ".")
    assert "\n  git add -A && git commit -m 'A study' && dvc repro" in capsys.readouterr().out
    assert (Path.cwd() / "dvc.yaml").samefile(study / "inner" / "dvc.yaml"), "still the current folder"
    assert not (study / "inner" / ".git").exists()


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    main_ends_well("init", "study")
    assert "no_scm = true" in Path("study/.dvc/config").read_text()
    said = capsys.readouterr().out
    assert "git is not installed" in said
    assert "cd study && dvc repro" in said


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tagscale.cli.init.find_spec", lambda _: None)
    assert "pip install 'tagscale[main]'" in main_ends_badly(capsys, "init", str(tmp_path / "study"))
    assert not (tmp_path / "study").exists()


def test_a_study_of_another_version(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = study / "dvc.yaml"
    fresh = stages.read_text()
    stages.write_text(fresh.replace(f"{CODE}/synth.sha256", f"{CODE}/composer.sha256"))
    monkeypatch.chdir(study)
    said = main_ends_badly(capsys, "lock-code")
    assert "composer: no such file or folder. dvc.yaml names it" in said
    assert "`tagscale init --update .`" in said
    main_ends_well("init", "--update", ".")
    assert stages.read_text() == fresh


def test_no_folder_but_a_study_is_updated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no study that `tagscale init` has begun" in main_ends_badly(capsys, "init", "--update", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_package_without_the_files_of_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "lib" / "tagscale"
    shutil.copytree(ROOT / "src" / "tagscale" / "runtime", package / "runtime")
    monkeypatch.setattr(tagscale, "__file__", str(package / "__init__.py"))
    monkeypatch.chdir(ROOT)
    assert project.shipped() == ROOT, "as in the container image"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(project.TagscaleError, match="was installed without the files of a study"):
        project.shipped()
