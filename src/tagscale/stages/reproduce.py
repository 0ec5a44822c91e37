"""Reproduce: the rows of one of the paper's tables, trained and scored one after another, on one page with the paper's.

A row that is there already is not made again, and a training that was interrupted resumes. The page is written anew
after every row. All of it lies in a folder of its own, and no study of the user's is touched.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from math import sqrt
from pathlib import Path
from typing import Any

from tagscale import tracking
from tagscale.catalog.tables import Catalog
from tagscale.models.architecture import architecture_of
from tagscale.models.build import build, parameter_count
from tagscale.models.paper import Row, data_of, rows_of
from tagscale.models.spec import base_model, group_of
from tagscale.params.load import Params, laid_over, parse
from tagscale.partition.divide import PARTS, Partition
from tagscale.report.appearance import colour_of
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing
from tagscale.runtime.identity import RunFacts, run_name, run_output
from tagscale.runtime.reading import Damaged
from tagscale.stages import evaluate, train, train_baseline
from tagscale.stages.cell import Cell
from tagscale.stages.training_of import training_of
from tagscale.study.grid import Study, read_study
from tagscale.study.paper_rows import (
    NOT_RUN,
    RUN,
    Beside,
    Order,
    cells,
    compare_orders,
    headings,
    measured,
    name_of,
    other_data,
)
from tagscale.study.tables import ResultFacts, result_output

PAGE, FIGURE = "page.md", "training_size.png"
LARGEST = 1_000_000  # training songs of table 1: the whole training part
LEAST = 8  # filters and units that a narrow back-end keeps


def settings_of(
    table: int, project: Mapping[str, Any], preset: Mapping[str, Any], width: float = 1.0, here: bool = False
) -> Params:
    """The settings of a table: those of params.yaml, with its preset laid over.

    Args:
        project, preset: the contents of params.yaml and of presets/table-N.yaml
        width: share of the parameters that every model keeps, about
        here: take dataset, recipe and dropout of params.yaml, and models and patch length alone of the preset
    Raises:
        TagscaleError: the two do not make whole settings.
    """
    content = dict(project)
    if here:
        patch = {key: preset["train"][key] for key in ("patch_seconds",) if key in preset["train"]}
        kept = {key: content["model"]["backend"][key] for key in ("dropout", "pooling")}
        preset = {"model": laid_over(preset["model"], {"backend": kept}), "train": patch}
    elif preset["dataset"]["name"] != project["dataset"]["name"]:
        preset = laid_over({"dataset": {"version": None}}, dict(preset))
    content = laid_over(content, dict(preset))
    own: dict[str, Any] = {"probes": [], "ensembles": [], "members": None, "start_from": None}
    wanted = [row.model for row in rows_of(table)]
    for key in ("models", "baselines"):
        own[key] = [name for name in dict.fromkeys(wanted) if group_of(name) == key]
    content = laid_over(content, {"train": own})
    if width < 1:
        content = content | {"model": _narrowed(content["model"], sqrt(width))}
    return _buildable(content, f"table {table}")


def _narrowed(blocks: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """The blocks of `model` with every layer narrower by a factor; parameters go with about its square."""
    narrow = {}
    for name, block in blocks.items():
        backend = {
            key: min(block[key], max(LEAST, round(factor * block[key])))
            for key in ("filters", "units")
            if isinstance(block.get(key), int)
        }
        narrow[name] = dict(block) | backend | ({"width": factor * block["width"]} if "width" in block else {})
    return narrow


def _buildable(content: dict[str, Any], origin: str) -> Params:
    """The settings, in which models too narrow for one filter a layer are widened until they have one."""
    params = parse(content, origin)
    for name in params.train.models:
        while True:
            try:
                build(architecture_of(params, name, ["tag"], ["classification"]))
                break
            except TagscaleError:
                block = content["model"][name]
                if block["width"] >= 1:
                    raise
                wider = {name: block | {"width": min(1.0, 1.25 * block["width"])}}
                content = content | {"model": content["model"] | wider}
                params = parse(content, origin)
    return params


@dataclass(frozen=True)
class Inputs:
    """What earlier stages made of the dataset."""

    catalog: Path
    partition: Path
    store: str
    descriptors: Path

    def of(self, model: str) -> Path | str:
        return self.descriptors if group_of(model) == "baselines" else self.store


@dataclass(frozen=True)
class Reproduction:
    """A table of the paper, as it stands in a folder.

    width: share of the parameters that every model keeps, for the page
    command: what resumes it, for the page
    """

    table: int
    params: Params
    inputs: Inputs
    folder: Path
    width: float = 1.0
    command: str = ""

    @cached_property
    def catalog(self) -> Catalog:
        return Catalog.load(self.inputs.catalog)

    @cached_property
    def parts(self) -> Partition:
        return Partition.load(self.inputs.partition)

    @cached_property
    def apart(self) -> str:
        """Why our scores cannot be held against the paper's; "" where the data are the same."""
        return other_data(data_of(self.table), self.params.dataset.source, self.parts.split, len(self.parts.tags))

    @cached_property
    def networks(self) -> dict[str, tuple[int, Any]]:
        """Of every network, its number of parameters and the shapes of its layers, which tell equal ones."""
        kinds = self.catalog.tags.loc[self.parts.tags, "kind"].tolist()
        networks = {}
        for name in self.params.train.models:
            architecture = architecture_of(self.params, name, self.parts.tags, kinds)
            network = build(architecture)
            shapes = tuple((key, tuple(value.shape)) for key, value in network.state_dict().items())
            networks[name] = parameter_count(network), (base_model(name), architecture.patch_seconds, shapes)
        return networks

    def model_of(self, row: Row) -> str:
        """The model that is run for a row: that of the first row that is the same network here."""
        if row.model not in self.networks:
            return row.model
        shapes = self.networks[row.model][1]
        return next(name for name, (_, others) in self.networks.items() if others == shapes)

    def size_of(self, row: Row) -> int | str:
        """The training size of a row; on other data than the paper's, the same share of the training part."""
        if row.train_size is None or row.train_size >= LARGEST:
            return "all"
        if not self.apart:
            return row.train_size
        tracks = min(len(view.tracks("train")) for view in self.parts.views().values())
        return max(1, round(tracks * row.train_size / LARGEST))

    def cells_of(self, row: Row) -> list[tuple[str, int | str, int]]:
        """Model, size and seed of every run of a row."""
        return [(self.model_of(row), self.size_of(row), seed) for seed in self.params.train.seeds]

    def run_folder(self, cell: tuple[str, int | str, int]) -> Path:
        return self.folder / "runs" / run_name(*cell)

    def result_folder(self, cell: tuple[str, int | str, int]) -> Path:
        return self.folder / "results" / run_name(*cell)

    def is_trained(self, cell: tuple[str, int | str, int]) -> bool:
        """Whether the run is there, whole, and of the present data and settings."""
        output = run_output(self.run_folder(cell))
        try:
            output.check()
            return output.facts(RunFacts)["identity"] == self._identity(cell)
        except Damaged:
            return False

    def is_there(self, cell: tuple[str, int | str, int]) -> bool:
        """Whether the run is there, and its scores are."""
        output = result_output(self.result_folder(cell))
        try:
            output.check()
            return output.facts(ResultFacts)["identity"] == self._identity(cell) and self.is_trained(cell)
        except Damaged:
            return False

    def _identity(self, cell: tuple[str, int | str, int]) -> Any:
        described = Cell(self.catalog, self.parts, *cell)
        if group_of(cell[0]) == "baselines":
            return described.identity(train_baseline.decided_by(self.params))
        architecture = architecture_of(self.params, cell[0], described.tags, described.kinds)
        return described.identity(train.decided_by(self.params, cell[0], architecture))

    def make(self, cell: tuple[str, int | str, int]) -> None:
        """Train the model and score it, or what is missing of both."""
        folders = {"catalog": self.inputs.catalog, "partition": self.inputs.partition}
        model, size, seed = cell
        run, inputs = self.run_folder(cell), self.inputs.of(model)
        if not self.is_trained(cell):
            training_of(model)(self.params, model=model, size=size, seed=seed, inputs=inputs, run=run, **folders)
        evaluate.run(self.params, run=run, inputs=inputs, results=self.result_folder(cell), **folders)

    def study(self, cells: Sequence[tuple[str, int | str, int]]) -> Study:
        """The study of a full grid of runs that are there."""
        models, sizes, seeds = (list(dict.fromkeys(cell[place] for cell in cells)) for place in range(3))
        folders = [self.run_folder(cell) for cell in cells], [self.result_folder(cell) for cell in cells]
        return read_study(*folders, models=models, sizes=sizes, seeds=seeds)  # type: ignore[arg-type]

    def beside(self, row: Row) -> Beside:
        """A row of the paper, and what is there of it."""
        every = self.cells_of(row)
        model, parameters = every[0][0], self.networks.get(every[0][0], (None, None))[0]
        twin = f", the same network as {model} at this width" if model != row.model else ""
        there = [cell for cell in every if self.is_there(cell)]
        if there:
            (ours,) = measured(self.study(there)).values()
            state = RUN if len(there) == len(every) else f"{len(there)} of {len(every)} seeds run"
            tracks = f" on {ours.train_tracks:,} tracks" if row.train_size and self.apart else ""
            return Beside(row, model, ours, parameters, state + tracks + twin)
        return Beside(row, model, None, parameters, self._missing(every) + twin)

    def _missing(self, cells: Sequence[tuple[str, int | str, int]]) -> str:
        """The state of a row of which no run is there with its scores."""
        folders = [self.run_folder(cell) for cell in cells]
        unfinished = any(folder.with_name(f"{folder.name}.unfinished").exists() for folder in folders)
        if unfinished or any(self.is_trained(cell) for cell in cells):
            return "begun, resumes"
        return "to be run again: other data or settings" if any(map(Path.exists, folders)) else NOT_RUN


def run(reproduction: Reproduction, *, rows: str | None = None, only_page: bool = False) -> Path:
    """Make the rows of a table that are missing, and write its page after each of them.

    Args:
        rows: only those rows whose name or model has this text in it, or matches it as a pattern
        only_page: write the page of what is there
    Returns:
        The page.
    Raises:
        TagscaleError: no row is named so, or the catalog is of another dataset; see also the stages train and evaluate.
    """
    dataset, name = reproduction.params.dataset.name, reproduction.catalog.name
    if name != dataset:
        raise TagscaleError(
            f"{reproduction.inputs.catalog}: holds {name}, and dataset.name of the settings is {dataset}. `dvc repro "
            f"partition` makes what the rows need of {dataset}."
        )
    wanted = chosen(reproduction.table, rows)
    cells = dict.fromkeys(cell for row in wanted for cell in reproduction.cells_of(row))
    missing = [] if only_page else [cell for cell in cells if not reproduction.is_there(cell)]
    try:
        for number, cell in enumerate(missing, start=1):
            print(f"Run {number} of {len(missing)}: {run_name(*cell)}", flush=True)
            reproduction.make(cell)
            write_page(reproduction)
    finally:
        page = write_page(reproduction)
    if missing:
        _track(reproduction, page)
    return page


def _track(reproduction: Reproduction, page: Path) -> None:
    """Keep the page in the MLflow run that the table's trainings nest in."""
    params, parts = reproduction.params, reproduction.parts
    colours = {model: colour_of(model) for model in params.train.everyone}
    study = tracking.StudyFacts(reproduction.catalog.name, parts.data_hash, parts.hash, ["pr_auc"], colours)
    finding = f"Table {reproduction.table} of Pons et al. (2018), beside ours: {PAGE} among the artifacts."
    with tracking.comparison_run(params.tracking.experiment, study, finding, {tracking.SPLIT: parts.split}) as tracked:
        tracked.log_artifacts(page)


def chosen(table: int, text: str | None) -> list[Row]:
    """The rows of a table that a user names. Raises TagscaleError where there is none."""
    rows = rows_of(table)
    if text is None:
        return rows
    pattern = text.lower() if set(text) & set("*?[") else f"*{text.lower()}*"
    named = [row for row in rows if any(fnmatch(name.lower(), pattern) for name in (name_of(row), row.model))]
    if not named:
        names = ", ".join(dict.fromkeys(row.model for row in rows))
        raise TagscaleError(f"--rows {text}: no row of table {table} has this in its name. Their models: {names}.")
    return named


def write_page(reproduction: Reproduction) -> Path:
    """Write the page of a table: every row of the paper, and what is there of it."""
    besides = [reproduction.beside(row) for row in rows_of(reproduction.table)]
    lines = list(_page(reproduction, besides))
    page = reproduction.folder / PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    if _draw(reproduction, page.with_name(FIGURE)):
        lines += ["", "## Figure 3", "", f"![Scores over the number of training tracks]({FIGURE})"]
    with replacing(page) as fresh:
        fresh.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return page


def _page(reproduction: Reproduction, besides: Sequence[Beside]) -> Iterator[str]:
    table, apart = reproduction.table, reproduction.apart
    yield from (f"# Table {table} of Pons et al. (2018), beside ours", "", *_head(reproduction, besides), "")
    names = headings(besides)
    yield _line(names)
    yield _line(["---", *["---:"] * (len(names) - 2), "---"])
    yield from map(_line, cells(besides, apart))
    yield from ("", *_notes(besides))
    if apart:
        yield from ("", "## The order of the rows", "", *_orders(compare_orders(besides)))


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", r"\|") for text in texts) + " |"


def _head(reproduction: Reproduction, besides: Sequence[Beside]) -> Iterator[str]:
    """What a reader must know before the table."""
    params, apart, parts = reproduction.params, reproduction.apart, reproduction.parts
    paper, tracks = data_of(reproduction.table), [len(parts.tracks(part)) for part in PARTS[1:]]
    count = len(next(iter(parts.views().values())).tracks("train"))
    about = f"{params.dataset.name} ({count:,} training and {tracks[-1]:,} test tracks, {len(parts.tags)} tags)"
    if apart:
        yield (
            f"**This is not the paper's data: {apart}.** The paper's scores are of {paper.name}, ours of {about}. The "
            "two are not comparable, so the differences stay blank; what can be held against the paper is the order of "
            "the rows, below."
        )
    else:
        yield f"Both are of {paper.name}; ours: {about}."
    recipe = params.train
    steps = f"{recipe.max_steps:,} steps" if isinstance(recipe.max_steps, int) else recipe.max_steps
    yield ""
    yield f"- Capacity: {_capacity_words(reproduction.width)} The parameters of the last layer go with the tags."
    yield (
        f"- Recipe: {steps} at most, {recipe.batch} patches a step, learning rate "
        f"{recipe.learning_rate:g}, schedule {recipe.schedule}, loss {recipe.loss.replace('_', ' ')}, seeds "
        f"{', '.join(map(str, recipe.seeds))}."
    )
    yield (
        "- ROC-AUC and PR-AUC in percent, means over tags of the test part. In brackets: the interval for other test "
        f"artists at {params.evaluate.confidence:.0%}. The paper prints no spread, so the interval of a difference is "
        "that of ours alone."
    )
    yield "- Hours are those of the trainings, on the machine that made them."
    done = sum(one.state.startswith(RUN) for one in besides)
    others = "" if done == len(besides) else f" `{reproduction.command}` makes or resumes the others."
    yield f"- {done} of {len(besides)} rows are there, with all their seeds.{others}"


def _capacity_words(width: float) -> str:
    if width == 1:
        return "the paper's."
    return (
        f"about {width:.3g} of the paper's parameters (`--width {width:g}`): filters and units of every layer times "
        f"{sqrt(width):.3f}; small layers keep a filter at least."
    )


def _notes(besides: Sequence[Beside]) -> Iterator[str]:
    """The notes of rows, each once."""
    notes: dict[str, list[str]] = {}
    for beside in besides:
        for note in beside.row.notes:
            notes.setdefault(note, []).append(name_of(beside.row))
    for note, names in notes.items():
        yield f"- {'; '.join(names)}: {note}"


def _orders(orders: Sequence[Order]) -> Iterator[str]:
    """Both orders side by side, with what they say."""
    if not orders:
        yield "An order takes three rows that the paper measured itself, and fewer are there."
        return
    yield from (f"- {order.words}" for order in orders)
    ranks = [order.ranks.set_index("row") for order in orders]
    heads = [f"{order.metric.label}, {which}" for order in orders for which in ("paper", "ours")]
    yield from ("", _line(["rank (1 is best)", *heads]), _line(["---", *["---:"] * len(heads)]))
    for row in ranks[0].sort_values("ours").index:
        yield _line([row, *(f"{rank.loc[row, which]:g}" for rank in ranks for which in ("paper", "ours"))])


def _draw(reproduction: Reproduction, picture: Path) -> bool:
    """Draw the paper's figure 3 of the runs of table 1, where all of the front-ends' are there."""
    cells = [
        cell
        for row in rows_of(reproduction.table)
        if row.train_size and group_of(row.model) == "models"
        for cell in reproduction.cells_of(row)
    ]
    if not cells or not all(reproduction.is_there(cell) for cell in cells):
        return False
    from tagscale.report import figures  # here, because matplotlib takes a second to import

    with replacing(picture) as fresh:
        figures.save_png(figures.training_size(reproduction.study(cells)), fresh)
    return True
