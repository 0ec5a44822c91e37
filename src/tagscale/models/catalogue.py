"""Every row of Tables 1 to 4 and the models after the paper: which model it is here, and how it differs from the print.

`paper` holds what was published. This module adds what each row of someone else's system is built from, the reason for
every difference, and the models that came later. What each costs is in `costs`.
"""

import difflib
import inspect
from dataclasses import dataclass, field
from typing import Any

from tagscale import SAMPLE_RATE
from tagscale.models.build import Architecture, class_of, shortest_samples
from tagscale.models.costs import COSTS
from tagscale.models.paper import DROPOUT, ROWS, Row
from tagscale.models.spec import NETWORKS
from tagscale.runtime.errors import TagscaleError

DESCRIPTORS = "descriptors"  # trees, no network: nothing of it is built from a capacity
TAGS = 50  # of a model that is in no table

WIDTHS = {4: "x4", 2: "x2", 1: "x1", 1 / 2: "half", 1 / 4: "quarter", 1 / 8: "eighth"}

TREES = (
    "Gradient-boosted trees on timbre, rhythm and harmony descriptors, one ensemble per tag. Trees have thresholds and "
    "leaves, not parameters that a gradient trains: there is nothing to count, and the paper prints no number."
)
IN_THE_TEXT = "The number of parameters is stated in section 5.1, not in the table."
NO_M = "Printed as 5.9, without its M."
ROUNDED = (
    "2,394,162 is printed rounded, as in its own publication; the other counts of the paper are truncated. Its last "
    "convolution has three taps here; in the released code it has one, which makes 1,869,874."
)
RATE = "Published at 22,050 Hz. Here the same number of samples at 16 kHz: 3.69 s, not 2.68."
CLEANER = "The score is quoted from its own publication, on a cleaner MagnaTagATune of 21k clips (section 5.2)."
QUOTED = "The scores are quoted from its own publication."
UNCOUNTED = "The paper prints no number of parameters."
GUESSED = (
    "The design behind the printed number is not stated. This is the plainest that has as many parameters; "
    "models/ says how it was found."
)
TEN_SECONDS = "The count comes out with patches of 10 s; the paper's own models take 3 s of this data."
FIFTEEN_SECONDS = "The count comes out with patches of 15 s; the paper's own models take 3 s of this data."
FCN_4 = (
    "The scores are quoted from its own publication, and 22M is printed for that system. Its four layers as published "
    "(128, 384, 768 and 2,048 filters) have 17.3M, as built here; what else was counted is not known. There they hear "
    "29 s at 12 kHz; here the paper's own spectrogram, of at least 20.48 s."
)
TWO_STEPS = (
    "The number is of all single-scale models and the head on them, two layers of 1,024 units; the authors' code has "
    "8,192, and 151M parameters for eight scales. The memory is that of the larger of its training steps."
)
TRIMMED = "Its batch norm of the input is the log-mel layer's normalisation here: 2 parameters fewer than the release."
POOLED = "The paper's model with attentive statistics in place of maximum and mean; 32,896 parameters more."


@dataclass(frozen=True)
class Entry:
    """A row of a table, or a model after the paper."""

    name: str  # unique
    table: int | None
    row: str  # as the paper names it
    model: str  # a key of MODELS, or `descriptors`
    in_params: str  # its name in params.yaml or, with another capacity, in presets/table-N.yaml
    tags: int
    capacity: dict[str, Any] = field(default_factory=dict)  # where it differs from the class's own defaults
    patch_seconds: float | None = None  # None: the model's natural length
    paper_parameters: str | None = None
    roc_auc: float | None = None  # percent, as the next
    pr_auc: float | None = None
    rmse: float | None = None
    notes: tuple[str, ...] = ()


# What someone else's system is here: (table, row) -> word in the name, model, capacity, notes
_SYSTEMS: dict[tuple[int, str], tuple[str, str, dict[str, Any], tuple[str, ...]]] = {
    (1, "Baseline"): ("", DESCRIPTORS, {}, (TREES,)),
    (2, "SampleCNN [14], cleaner data"): ("published", "samplecnn", {}, (CLEANER, ROUNDED, RATE)),
    (2, "SampleCNN (reproduced)"): ("reproduced", "samplecnn", {}, (ROUNDED, RATE)),
    (2, "Dieleman et al. [9]"): ("published", "dieleman", {}, (QUOTED, UNCOUNTED, GUESSED, TEN_SECONDS)),
    (2, "Dieleman et al. (reproduced)"): ("reproduced", "dieleman", {}, (GUESSED, TEN_SECONDS)),
    (3, "VGG - Choi et al. [5]"): (
        "",
        "vgg",
        {"filters": [128, 384, 768, 2048], "time_pools": [4, 5, 8, 8]},
        (FCN_4,),
    ),
    (3, "VGG (reproduced)"): ("reproduced", "vgg", {}, (GUESSED,)),
    (3, "Timbre CNN [21]"): ("published", "timbre_cnn", {"mels": 128}, (QUOTED,)),
    (3, "Timbre CNN (reproduced)"): ("reproduced", "timbre_cnn", {"mels": 96}, (GUESSED, FIFTEEN_SECONDS)),
    (4, "SampleCNN [14]"): ("", "samplecnn", {}, (QUOTED, ROUNDED, RATE)),
    (4, "SampleCNN multi-level & multi-scale [15]"): ("", "samplecnn_multiscale", {}, (QUOTED, UNCOUNTED, TWO_STEPS)),
    (4, "VGG + RNN [6]"): ("", "crnn", {}, (QUOTED,)),
    (4, "Multi-level & multi-scale [13]"): ("", "multiscale", {}, (QUOTED, UNCOUNTED, TWO_STEPS)),
}

_BASIC = {"width": 1.0, "filters": 512, "units": 500, "dropout": DROPOUT, "pooling": "attention"}
_AFTER = (
    Entry("short_chunk", None, "Short-chunk CNN + Res (Won et al. 2020)", "short_chunk", "short_chunk", TAGS,
          {"width": 1.0, "dropout": 0.5}, notes=(TRIMMED,)),
    Entry("transformer", None, "Music Tagging Transformer (Won et al. 2021)", "transformer", "transformer", TAGS,
          {"width": 1.0, "layers": 4, "dropout": 0.1}, 15.0, notes=(TRIMMED,)),
    Entry("waveform-attention", None, "Waveform, attention pooling", "waveform", "waveform", TAGS,
          {"layers": 7, **_BASIC}, 15.0, notes=(POOLED,)),
    Entry("spectrogram-attention", None, "Spectrogram, attention pooling", "spectrogram", "spectrogram", TAGS,
          _BASIC, 15.0, notes=(POOLED,)),
)  # fmt: skip


def entries(model: str | None = None, table: int | None = None) -> list[Entry]:
    """All rows in the paper's order, then the models after it; or those of one model or name, and of one table.

    Raises:
        TagscaleError: no such model or table, or the model is not in the table; names the nearest.
    """
    everything = [*(_entry(row) for row in ROWS), *_AFTER]
    if table is not None and table not in {entry.table for entry in everything if entry.table}:
        raise TagscaleError(
            f"--table {table}: the paper has the tables 1, 2, 3 and 4; {min(max(table, 1), 4)} is near."
        )
    names = {name for entry in everything for name in (entry.model, entry.name, entry.in_params)}
    if model is not None and model not in names:
        (nearest,) = difflib.get_close_matches(model, sorted(names), n=1, cutoff=0)
        models = dict.fromkeys(entry.model for entry in everything)
        raise TagscaleError(f"--model {model}: unknown; did you mean `{nearest}`? The models are {', '.join(models)}.")
    named = [entry for entry in everything if model in (None, entry.model, entry.name, entry.in_params)]
    chosen = [entry for entry in named if table in (None, entry.table)]
    if not chosen:
        tables = sorted({entry.table for entry in named if entry.table is not None})
        where = f"in table {' and '.join(map(str, tables))}" if tables else "in none: it came after the paper"
        raise TagscaleError(f"--model {model} is not in table {table}; it is {where}.")
    return chosen


def architecture_of(entry: Entry) -> Architecture | None:
    """The description that `build` takes; None for what is no network."""
    if entry.model not in NETWORKS:
        return None
    model = class_of(entry.model)
    parameters = inspect.signature(model).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
    capacity = {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}
    capacity = {
        key: value
        for key, value in (capacity | entry.capacity).items()
        if key in NETWORKS[entry.model].capacity.model_fields
    }
    seconds = entry.patch_seconds or (model.natural(**capacity) or 0) / SAMPLE_RATE
    tags = tuple(f"tag {number}" for number in range(entry.tags))
    return Architecture(entry.model, capacity, tags, ("classification",) * entry.tags, seconds)


def record(entry: Entry) -> dict[str, Any]:
    """A row with what it costs, as JSON can hold it: seconds, bytes, operations, percent, as in `cost` and `paper`."""
    architecture, counted = architecture_of(entry), COSTS.get(entry.name)
    return {
        "name": entry.name,
        "table": entry.table,
        "row": entry.row,
        "model": entry.model,
        "in_params": entry.in_params,
        "capacity": architecture and architecture.capacity,
        "tags": entry.tags,
        "paper_parameters": entry.paper_parameters,
        "parameters": counted and counted.parameters,
        "roc_auc": entry.roc_auc,
        "pr_auc": entry.pr_auc,
        "rmse": entry.rmse,
        "patch_seconds": architecture and architecture.patch_seconds,
        "shortest_seconds": architecture and shortest_samples(architecture) / SAMPLE_RATE,
        "flops": counted and counted.flops,
        "memory": counted and counted.activations + counted.weights,
        "activations": counted and counted.activations,
        "weights": counted and counted.weights,
        "note": " ".join(entry.notes) or None,
    }


def _entry(row: Row) -> Entry:
    if row.model == "other":
        word, model, capacity, notes = _SYSTEMS[row.table, row.row]
        in_params, seconds = "vgg-published" if "time_pools" in capacity else model, None
    else:
        word, model, in_params, notes = _front_end(row)
        capacity, seconds = dict(row.capacity or {}), row.patch_seconds
    name = "-".join(part for part in (f"table-{row.table}", in_params, word) if part)
    label = row.row if row.train_size is None else f"{row.row}, {row.train_size / 1e6:g}M songs"
    scores = (row.printed, row.roc_auc, row.pr_auc, row.rmse)
    return Entry(name, row.table, label, model, in_params, row.tags, capacity, seconds, *scores, notes=notes)


def _front_end(row: Row) -> tuple[str, str, str, tuple[str, ...]]:
    """Word in the name, model, name in params.yaml and notes of one of the paper's own models."""
    capacity = row.capacity or {}
    if row.table == 1:
        return f"{row.train_size}", row.model, row.model, (IN_THE_TEXT,)
    if row.table == 4:
        return "", row.model, row.model, ()
    if row.row.startswith("#"):
        notes = (NO_M,) if row.row == "# filters × 1" and row.table == 3 else ()
        return "", row.model, f"{row.model}-{WIDTHS[capacity['width']]}", notes
    back_end = f"{capacity['filters']}f-{capacity['units']}u"
    if back_end == "512f-500u":  # the selected front-end again
        return back_end, row.model, f"{row.model}-{WIDTHS[capacity['width']]}", ()
    return "", row.model, f"{row.model}-{back_end}", ()
