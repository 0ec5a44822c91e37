"""What every model costs: parameters, operations and memory of one patch. Writes the tables of docs/models.md.

    python benchmarks/costs.py

The model runs on PyTorch's meta device, where tensors have a shape and no values, so nothing is computed. What is
counted, and what is not:

- operations: a multiplication and an addition are two. Convolutions, dense and recurrent layers, attention and mel
  bands, by torch.utils.flop_counter; not biases, activations, norms and pooling, as is usual, nor the Fourier
  transform (0.01 billion for 15 s). Forward only; training takes about three times as many.
- activations: the bytes that autograd keeps of one patch until the backward pass, at float32, layer by layer as on a
  GPU. They grow with the batch. A model that is trained in two steps counts those of the larger step, and the
  operations of all its segments.
- weights: the bytes of parameters and buffers. They are there once; training with Adam needs four times them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import ascii_lowercase
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from tagscale import SAMPLE_RATE
from tagscale.audio.logmel import LogMel
from tagscale.models.aggregation import MultiscaleTagger
from tagscale.models.architecture import architecture_of
from tagscale.models.build import Architecture, build, class_of, parameter_count, shortest_samples
from tagscale.models.paper import ROWS, Row
from tagscale.models.spec import ENTRIES, NETWORKS, base_model, label_of
from tagscale.params.load import laid_over, parse, read_yaml

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "models.md"
BATCH = 2  # batch norm refuses one value per channel
TAGS = 50  # of a model that is in no table
TRIMMED = "The release has a batch norm of the input; here the log-mel layer normalises, which saves 2 parameters."
POOLED = "The paper's model with attentive statistics in place of maximum and mean; 32,896 parameters more."
NOTES = {"short_chunk": (TRIMMED,), "transformer": (TRIMMED,)}
TITLES = {
    1: "Table 1: 1.2M songs, 139 tags, means of three runs",
    2: "Table 2: MagnaTagATune, 50 tags, waveform models",
    3: "Table 3: MagnaTagATune, 50 tags, spectrogram models",
    4: "Table 4: Million Song Dataset, 50 tags",
    None: "After the paper: 50 tags",
}


class Cost(NamedTuple):
    parameters: int  # trainable
    flops: int  # of one patch, forward
    activations: int  # bytes of one patch in training
    weights: int  # bytes


@dataclass(frozen=True)
class Line:
    """One line of the tables."""

    table: int | None
    row: str  # as the paper names it, or as readers call it
    model: str  # its name in params.yaml or in presets/table-N.yaml
    architecture: Architecture | None  # None: no network
    scores: Row | None  # None: after the paper
    notes: tuple[str, ...]


# --- counting ------------------------------------------------------------------------------------------------------


def cost(model: nn.Module, samples: int) -> Cost:
    """What one patch of so many samples costs. The model goes to the meta device and cannot be used after."""
    parameters = parameter_count(model)
    weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    _without_spectrograms(model)
    model = model.to("meta").train()
    if isinstance(model, MultiscaleTagger):
        return Cost(parameters, *_run_steps(model, samples), weights)
    return Cost(parameters, *_run(model, (samples,)), weights)


def cost_of(architecture: Architecture) -> Cost:
    """As `cost`, of a model that is built for it. Raises TagscaleError as `build`."""
    return _cost_of(json.dumps(architecture.as_dict()))


@cache
def _cost_of(description: str) -> Cost:
    architecture = Architecture.from_dict(json.loads(description))
    with _Undrawn():
        model = build(architecture)
    return cost(model, architecture.patch_samples)


def _run_steps(model: MultiscaleTagger, samples: int) -> tuple[int, int]:
    """As `_run`, of a model trained in two steps: every part alone, then the head on the frozen parts."""
    parts = [_run(part, (length,)) for part, length in zip(model.parts, model.part_samples, strict=True)]
    head = _run(model.head, (model.head.hidden1.in_features,))
    segments = [-(-samples // length) for length in model.part_samples]
    flops = sum(count * part[0] for count, part in zip(segments, parts, strict=True)) + head[0]
    return flops, max(activations for _, activations in [*parts, head])


def _run(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """Operations and bytes of activations of one input of this shape, of a model on the meta device."""
    weights = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, tuple[Tensor, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = (tensor, storage.nbytes())  # the tensor stays, or its number would be given again
        return tensor

    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.empty(BATCH, *shape, device="meta"))
    activations = sum(size for number, (_, size) in kept.items() if number not in weights)
    return counter.get_total_flops() // BATCH, activations // BATCH


class _Undrawn(TorchFunctionMode):
    """While it is on, random initial weights are left as they are: nobody reads them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return func(*args, **(kwargs or {}))


class _OnCPU(nn.Module):
    """A log-mel layer on the CPU in a model on the meta device, which has no autocast and no Fourier transform."""

    def __init__(self, log_mel: LogMel) -> None:
        super().__init__()
        self.hidden = (log_mel,)  # in a tuple it is no part of the model, and stays where it is

    def forward(self, wave: Tensor) -> Tensor:
        (log_mel,) = self.hidden
        return torch.empty_like(log_mel(torch.zeros(wave.shape)), device=wave.device)


def _without_spectrograms(model: nn.Module) -> None:
    """Take all log-mel layers out of a model that goes to the meta device."""
    for name, child in list(model.named_children()):
        if isinstance(child, LogMel):
            setattr(model, name, _OnCPU(child))
        else:
            _without_spectrograms(child)


# --- the tables ----------------------------------------------------------------------------------------------------


def lines() -> Iterator[Line]:
    """Every row of the paper's tables in their order, then the models after it."""
    for row in ROWS:
        label = row.row if row.train_size is None else f"{row.row}, {row.train_size / 1e6:g}M songs"
        settings = settings_of(f"table-{row.table}")
        architecture = described(settings, row.model, row.tags) if base_model(row.model) in NETWORKS else None
        yield Line(row.table, label, row.model, architecture, row, row.notes)
    in_paper = {base_model(row.model) for row in ROWS}
    basic = settings_of("basic")
    for name, entry in NETWORKS.items():
        if name not in in_paper:
            yield Line(None, entry.about, name, described(basic, name, TAGS), None, NOTES.get(name, ()))
    attention = laid_over(basic, {"model": {"backend": {"pooling": "attention"}}})
    for name, entry in NETWORKS.items():
        if name in in_paper and entry.shares_backend:
            label = f"{label_of(name)}, attention pooling"
            yield Line(None, label, name, described(attention, name, TAGS), None, (POOLED,))


def settings_of(preset: str) -> dict[str, Any]:
    """params.yaml with a preset laid over it."""
    return laid_over(read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / "presets" / f"{preset}.yaml"))


def described(settings: dict[str, Any], model: str, tags: int) -> Architecture:
    names = [f"tag {number}" for number in range(tags)]
    return architecture_of(parse(settings), model, names, ["classification"] * tags)


def models_table() -> str:
    """One line a model, as params.yaml has it."""
    settings = read_yaml(ROOT / "params.yaml")
    rows = [["name", "what", "role", "takes"], ["---"] * 4]
    for entry in ENTRIES:
        takes = "any length"
        if entry.name in NETWORKS:
            architecture = described(settings, entry.name, TAGS)
            natural = class_of(entry.name).natural(**architecture.capacity)
            published = f"; published: {natural / SAMPLE_RATE:.4g} s" if natural else ""
            takes = f"{shortest_samples(architecture) / SAMPLE_RATE:.4g} s or more{published}"
        rows.append([f"`{entry.name}`", entry.about, entry.role, takes])
    return _markdown(rows)


def cost_tables() -> str:
    """The tables of the paper and the one after it, with the notes that their rows refer to."""
    everything = list(lines())
    marks = dict(zip(dict.fromkeys(note for line in everything for note in line.notes), ascii_lowercase, strict=False))
    parts = []
    for table, title in TITLES.items():
        rows = [_cells(line, [marks[note] for note in line.notes]) for line in everything if line.table == table]
        headings = [heading for heading in rows[0] if any(row[heading] for row in rows)]
        table_rows = [headings, ["---", "---", *["--:"] * (len(headings) - 2)]]
        table_rows += [[row[heading] for heading in headings] for row in rows]
        parts += [f"### {title}", _markdown(table_rows)]
    parts.append("\n".join(f"- {mark}: {note}" for note, mark in marks.items()))
    return "\n\n".join(parts)


def _cells(line: Line, marks: list[str]) -> dict[str, str]:
    cells = {"row": line.row + (f" ({', '.join(marks)})" if marks else ""), "in params": f"`{line.model}`"}
    found = cost_of(line.architecture) if line.architecture else None
    row = line.scores
    cells["parameters"] = f"{found.parameters:,}" if found else ""
    cells["paper"] = (row and row.printed) or ""
    cells["ROC-AUC"] = f"{row.roc_auc:.2f}" if row and row.roc_auc else ""
    cells["PR-AUC"] = f"{row.pr_auc:.2f}" if row and row.pr_auc else ""
    cells["√MSE"] = f"{row.rmse:.4f}" if row and row.rmse else ""
    cells["GFLOPs"] = f"{found.flops / 1e9:.2f}" if found else ""
    cells["MB"] = f"{found.activations / 1e6:.0f} + {found.weights / 1e6:.0f}" if found else ""
    cells["patch, s"] = f"{line.architecture.patch_seconds:.2f}" if line.architecture else ""
    return cells


def _markdown(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def page(text: str) -> str:
    """The text of docs/models.md with fresh tables between its marks."""
    for name, content in (("models", models_table()), ("costs", cost_tables())):
        begin, end = f"<!-- {name}: python benchmarks/costs.py -->", f"<!-- /{name} -->"
        head, rest = text.split(begin)
        text = f"{head}{begin}\n\n{content}\n\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
