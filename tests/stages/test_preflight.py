"""Contradictions of the settings with models, tags and tracks are found before any training."""

from pathlib import Path
from typing import Any

import pytest

from sounds import write_study
from stages.conftest import ROOT, SETTINGS
from tagscale.catalog.tables import Catalog
from tagscale.cli.stages import read
from tagscale.params.load import Params, laid_over, parse, read_yaml
from tagscale.runtime.errors import TagscaleError
from tagscale.stages.preflight import check_grid, check_metric, check_models


def settings(**changes: Any) -> Params:
    return parse(laid_over(laid_over(read_yaml(ROOT / "params.yaml"), SETTINGS), changes))


def test_patches_and_windows_must_suffice_for_every_model() -> None:
    check_models(settings())
    with pytest.raises(
        TagscaleError, match=r"train\.models: waveform: This model needs at least 11\.07.*patch_seconds"
    ):
        check_models(settings(model={"waveform": {"layers": 9}}))
    with pytest.raises(TagscaleError, match=r"evaluate\.window_seconds: found 0\.5, but the waveform model"):
        check_models(settings(evaluate={"window_seconds": 0.5}))


def test_the_tags_must_have_the_metric_and_the_training_part_the_sizes(tmp_path: Path) -> None:
    write_study(tmp_path)
    folders = tmp_path / "catalog", tmp_path / "partition"
    check_metric(settings(), folders[0])
    check_grid(settings(train={"sizes": [16, "all"]}), *folders)
    with pytest.raises(
        TagscaleError, match=r"training size 5000: the training part holds 48 tracks\. Lower train\.sizes"
    ):
        check_grid(settings(train={"sizes": [16, 5000]}), *folders)
    catalog = Catalog.load(folders[0])
    catalog.tags["kind"] = "regression"
    catalog.save(folders[0])
    expected = (
        r"registry\.metric: found pr_auc, which scores classification tags, but all tags here are regression tags\. Set"
    )
    with pytest.raises(TagscaleError, match=expected):
        check_metric(settings(), folders[0])
    with pytest.raises(TagscaleError, match=expected):
        check_grid(settings(train={"sizes": ["all"]}), *folders)
    check_metric(settings(registry={"metric": "rmse"}), folders[0])


@pytest.mark.parametrize("root", ["data/catalog", "runs/mine", "./data/../reports"])
def test_a_dataset_in_a_folder_that_a_stage_replaces_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("root: data/corpus", f"root: {root}"))
    with pytest.raises(TagscaleError, match=r"dataset\.root: found .*a stage replaces .*Move the dataset"):
        read(Path("params.yaml"))
