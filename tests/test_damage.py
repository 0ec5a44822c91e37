"""Every file that a stage reads, damaged in every way: the stage names the file and the command that makes it again,
and that command does. Never another error, and never a result from half a file.
"""

import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from tagscale import cli
from tagscale.cli.stages import folders
from tagscale.params.load import Params, laid_over, load, read_yaml
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.reading import Output
from tagscale.stages import catalog, compare, evaluate, partition, preprocess, publish, register, validate
from tagscale.stages import store as store_commands

ROOT = Path(__file__).parents[1]
NETWORK, TREES = "waveform-16-0", "descriptors-16-0"


@pytest.fixture(scope="module")
def params() -> Params:
    return load(ROOT / "params.yaml", ROOT / "tests" / "tiny.yaml")


@pytest.fixture
def study(tiny_study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished study, each file under a second name: a test that damages one gives it a new content."""
    folder = tmp_path / "study"
    shutil.copytree(tiny_study.folder, folder, copy_function=os.link, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


# --- who reads a file: each call reads it before it writes anything

Reader = Callable[[Params], object]
DATA = {name: Path("data") / name for name in ("catalog", "store", "validation", "partition", "descriptors")}


def _catalog(params: Params) -> None:
    catalog.run(params, root=Path("data/corpus"), catalog=Path("new/catalog"))


def _partition(params: Params) -> None:
    folders = {name: DATA[name] for name in ("catalog", "validation")}
    partition.run(params, **folders, partition=Path("new/partition"), previous=DATA["partition"])


def _validate(params: Params) -> None:
    validate.run(params, catalog=DATA["catalog"], store=DATA["store"], validation=Path("new/validation"))


def _publish(params: Params) -> None:
    publish.run(params, name="v1", **{name: DATA[name] for name in ("catalog", "store", "validation")})


def _evaluate(run: str) -> Reader:
    def read(params: Params) -> None:
        inputs = DATA["descriptors" if run == TREES else "store"]
        folders = {name: DATA[name] for name in ("catalog", "partition")}
        evaluate.run(params, run=Path("runs") / run, inputs=inputs, results=Path("new/results"), **folders)

    return read


def _paths(params: Params) -> dict[str, list[Path]]:
    return folders(params, Path("runs"), Path("results"), Path("ensembles"))


def _compare(params: Params) -> None:
    folders = {name: DATA[name] for name in ("catalog", "partition", "validation")}
    compare.run(params, **_paths(params), **folders, timings=Path("timings"), reports=Path("new/reports"))


def _register(params: Params) -> None:
    folders = {name: DATA[name] for name in ("catalog", "partition", "store")}
    register.run(params, **_paths(params), **folders, registration=Path("new/registration"))


def _info(params: Params) -> None:
    store_commands.info(DATA["store"])


FILES: dict[str, Reader] = {
    "data/corpus/tracks.csv": _catalog,
    "data/corpus/tags.yaml": _catalog,
    "data/corpus/corpus.json": _catalog,
    "data/catalog/dataset.json": _partition,
    "data/catalog/tracks.parquet": _partition,
    "data/catalog/labels.parquet": _partition,
    "data/catalog/tags.csv": _partition,
    "data/store/store.json": _validate,
    "data/store/index.parquet": _publish,
    "data/store/rejected.csv": _info,
    "data/validation/validation.json": _partition,
    "data/validation/quarantine.csv": _partition,
    "data/partition/partition.json": _evaluate(NETWORK),
    "data/partition/partition.parquet": _evaluate(NETWORK),
    "data/partition/assigned.parquet": _partition,
    "data/descriptors/descriptors.parquet": _evaluate(TREES),
    f"runs/{NETWORK}/run.json": _compare,
    f"runs/{NETWORK}/model.json": _evaluate(NETWORK),
    f"runs/{NETWORK}/weights.safetensors": _evaluate(NETWORK),
    f"runs/{NETWORK}/history.csv": _compare,
    f"runs/{TREES}/run.json": _evaluate(TREES),
    f"runs/{TREES}/trees.ubj.gz": _evaluate(TREES),
    f"results/{NETWORK}/metrics.json": _register,
    f"results/{NETWORK}/per_tag.csv": _compare,
    "results/waveform-all-0/per_group.csv": _compare,  # the groups of the largest size are shown
    f"results/{NETWORK}/resamples.parquet": _register,
    "results/waveform-all-0/predictions.parquet": _compare,
}


# --- what happens to a file

WRONG_JSON = (b"[]", b"{}", b"null", b'"text"', b"[" * 200_000, b'{"a": NaN}', b"\xff\xfe{}")


def _contents(path: Path, whole: bytes) -> Iterator[tuple[str, bytes]]:
    """Other contents of the file, each with its name."""
    random = np.random.default_rng(len(whole))
    yield "empty", b""
    yield "zeros", bytes(len(whole))
    yield "random bytes", random.bytes(len(whole))
    for length in sorted({1, len(whole) // 3, len(whole) // 2, len(whole) - 2}):
        yield f"cut at byte {length} of {len(whole)}", whole[:length]
    if path.suffix == ".csv":
        rows = whole.splitlines(keepends=True)
        yield "a row less", b"".join(rows[:-1])
        yield "another head", b"a,b\n" + b"".join(rows[1:])
        yield "no table", b'"\n'
    if path.suffix == ".json":
        yield from ((f"other JSON {content[:20]!r}", content) for content in WRONG_JSON)
        facts = json.loads(whole)
        for key in facts:
            yield f"{key} of another type", json.dumps(facts | {key: [[1]]}).encode()
    else:
        at = _value_in(whole) if path.suffix == ".parquet" else len(whole) // 2
        yield "a wrong byte in the middle", whole[:at] + bytes([whole[at] ^ 0x17]) + whole[at + 1 :]


def _value_in(whole: bytes) -> int:
    """Place of a byte of the values of a Parquet file's middle column. Others, as of statistics, may decide nothing."""
    group = pq.ParquetFile(io.BytesIO(whole)).metadata.row_group(0)
    column = group.column(group.num_columns // 2)
    first = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
    return int(first + column.total_compressed_size - 1)


def _replace(path: Path, content: bytes | None) -> None:
    """Give the path a new content, which no other name of the file gets; None: remove it."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)


def _damages(path: Path) -> Iterator[str]:
    """Damage the file in one way after another; gives their names."""
    whole = path.read_bytes()
    for name, content in _contents(path, whole):
        _replace(path, content)
        yield name
    _replace(path, None)
    yield "missing"
    path.mkdir()
    yield "a folder"
    _replace(path, None)
    path.symlink_to("nowhere")
    yield "a link to nothing"
    _replace(path, None)
    path.symlink_to(path.name)
    yield "a link to itself"
    _replace(path, whole)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_damage_is_named_with_the_command_that_mends_it(study: Path, params: Params, file: str) -> None:
    path, wrong = Path(file), []
    for damage in _damages(path):
        try:
            FILES[file](params)
            wrong.append(f"{damage}: passed")
        except TagscaleError as error:
            if not re.search(rf"({path.name}|{path.parent.name}): .*`(tagscale|dvc) [^`]+`", str(error)):
                wrong.append(f"{damage}: said {error}")
        except Exception as error:
            wrong.append(f"{damage}: {type(error).__name__}: {error}")
        assert not Path("new").exists(), damage
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["sources.parquet", "store.json", "index.parquet", "rejected.csv", "shard-00000.bin"])
def test_preprocess_makes_a_damaged_store_again(study: Path, params: Params, file: str) -> None:
    """Every kind of damage, and after each the same store as before."""
    whole = {path.name: path.read_bytes() for path in DATA["store"].iterdir()}
    damages = ["zeros", "a folder", "missing"] if file != "store.json" else ["empty", "a link to nothing"]
    damages = ["empty"] if file == "shard-00000.bin" else damages  # zeros in a shard are for `store verify`
    for damage in damages:
        path = DATA["store"] / file
        content = {"empty": b"", "zeros": bytes(100)}.get(damage)
        _replace(path, content)
        if damage == "a folder":
            path.mkdir()
        elif damage == "a link to nothing":
            path.symlink_to("nowhere")
        preprocess.run(params, root=Path("data/corpus"), catalog=DATA["catalog"], store=DATA["store"], workers=1)
        assert {path.name: path.read_bytes() for path in DATA["store"].iterdir()} == whole, damage


@pytest.mark.parametrize("damage", ["empty", "random", "folder", "other columns"])
@pytest.mark.slow  # for the study, which no quick test needs
def test_a_damaged_cache_is_dropped_with_a_line(
    study: Path, params: Params, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = Path("data/.store-seen.parquet")
    content = {"empty": b"", "random": b"PAR1" + bytes(range(256)) + b"PAR1", "folder": None}
    table = (DATA["catalog"] / "tracks.parquet").read_bytes()
    _replace(cache, content.get(damage, table))
    if damage == "folder":
        cache.mkdir()
    before = (DATA["store"] / "store.json").read_bytes()
    preprocess.run(params, root=Path("data/corpus"), catalog=DATA["catalog"], store=DATA["store"], workers=1)
    assert re.search(r"store-seen\.parquet: .*It is dropped", capsys.readouterr().out)
    assert (DATA["store"] / "store.json").read_bytes() == before
    assert cache.is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [
        "data/corpus/corpus.json",
        "data/catalog/labels.parquet",
        "data/store/store.json",
        "data/validation/quarantine.csv",
        "data/partition/partition.json",
        "data/partition/partition.parquet",
        "data/descriptors/descriptors.parquet",
        f"runs/{NETWORK}/run.json",
        f"runs/{TREES}/trees.ubj.gz",
        f"results/{NETWORK}/per_tag.csv",
    ],
)
def test_the_command_that_is_named_mends_it(study: Path, params: Params, file: str) -> None:
    """Through the command line; what is made again is what was there."""
    settings = laid_over(read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / "tests" / "tiny.yaml"))
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    _replace(Path("mlflow.db"), Path("mlflow.db").read_bytes())  # which the command writes to
    path, others = Path(file), [name for name in FILES if Path(name).parent == Path(file).parent]
    before = {name: Path(name).read_bytes() for name in others if not name.endswith(("run.json", "history.csv"))}
    _replace(path, path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TagscaleError) as caught:
        FILES[file](params)
    command = re.search(r"`tagscale ([^`]+)`", str(caught.value))
    assert command, caught.value
    with pytest.raises(SystemExit) as ended:
        cli.main(command[1].split())
    assert not ended.value.code, command[1]
    assert {name: Path(name).read_bytes() for name in before} == before
    if path.parent.name == NETWORK:
        Output(path.parent, "run.json" if path.parts[0] == "runs" else "metrics.json", "").check()
