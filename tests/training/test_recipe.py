"""Masked losses against their definitions."""

import math

import numpy as np
import pytest
import torch
from lightning_fabric.plugins.precision import MixedPrecision
from torch import nn

from sounds import settings
from tagscale.training.recipe import (
    OPTIMIZERS,
    annotated,
    balanced_weights,
    deciding,
    entry_losses,
    masked_loss,
    optimizer_options,
    smoothed,
    with_precision,
)

NAN = float("nan")
REGRESSION = torch.tensor([False, False, True])


def some() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(6, 3, generator=generator)
    labels[0, 0] = labels[3, 1] = labels[4, 2] = NAN
    return torch.randn(6, 3, generator=generator, requires_grad=True), labels


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_against_a_loop_over_the_entries(loss: str) -> None:
    logits, labels = some()
    total, count = 0.0, 0
    for logit_row, label_row in zip(logits.tolist(), labels.tolist(), strict=True):
        for logit, label, regression in zip(logit_row, label_row, REGRESSION.tolist(), strict=True):
            if math.isnan(label):
                continue
            score = 1 / (1 + math.exp(-logit))
            if loss == "mse" or regression:
                total += (score - label) ** 2
            else:
                total -= label * math.log(score) + (1 - label) * math.log(1 - score)
            count += 1
    assert masked_loss(logits, labels, REGRESSION, loss).item() == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_a_missing_label_has_no_gradient(loss: str) -> None:
    logits, labels = some()
    (gradient,) = torch.autograd.grad(masked_loss(logits, labels, REGRESSION, loss), logits)
    assert torch.isfinite(gradient).all()
    assert (gradient[labels.isnan()] == 0).all()
    assert (gradient[~labels.isnan()] != 0).all()


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_what_a_model_says_about_a_missing_label_changes_nothing(loss: str) -> None:
    logits, labels = some()
    moved = logits.detach() + 5 * labels.isnan()
    moved.requires_grad_()
    gradients = [
        torch.autograd.grad(masked_loss(given, labels, REGRESSION, loss), given)[0] for given in (logits, moved)
    ]
    assert torch.equal(*gradients)


def test_no_label_at_all_is_a_zero_that_can_be_differentiated() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    loss = masked_loss(logits, torch.full((2, 3), NAN), REGRESSION, "cross_entropy")
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_extreme_logits_stay_finite_and_half_precision_becomes_float32() -> None:
    logits = torch.tensor([[-3e4, 3e4, 100.0]], dtype=torch.float16)
    losses = entry_losses(logits, torch.tensor([[1.0, 0.0, 1.0]]), REGRESSION, "cross_entropy")
    assert losses.dtype == torch.float32
    assert torch.isfinite(losses).all()


def test_shares_of_a_batch_add_up_to_its_loss() -> None:
    logits, labels = some()
    whole = masked_loss(logits, labels, REGRESSION, "cross_entropy")
    known = annotated(labels)
    parts = [
        masked_loss(logits[rows], labels[rows], REGRESSION, "cross_entropy", known=known)
        for rows in (slice(0, 1), slice(1, 6))
    ]
    assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-6)


def test_balanced_weights_make_a_rare_tags_sides_equal() -> None:
    """2 of 99 positive, every fifth label missing: positives and negatives weigh alike, and 1 on average."""
    labels = np.zeros((99, 3), np.float32)
    labels[:2, 0], labels[:, 2] = 1, 0.3
    labels[4::5] = NAN
    weights = balanced_weights(labels, np.array([False, False, True]))
    known = ~np.isnan(labels[:, 0])
    positive, negative = (weights[label, 0].item() * (labels[known, 0] == label).sum() for label in (1, 0))
    assert positive == pytest.approx(negative, rel=0.3), "but for the imagined track"
    assert positive + negative == pytest.approx(known.sum(), rel=0.2)
    assert torch.isfinite(weights).all(), "of a tag without any positive, too"
    assert weights[:, 2].tolist() == [1, 1], "a regressed tag is not weighted"


def test_smoothing_leaves_missing_and_regression_labels() -> None:
    labels = torch.tensor([[1.0, NAN, 1.0], [0.0, 1.0, NAN]])
    expected = torch.tensor([[0.9, NAN, 1.0], [0.1, 0.9, NAN]])
    torch.testing.assert_close(smoothed(labels, REGRESSION, 0.2), expected, equal_nan=True)


def test_weights_apply_to_what_is_annotated() -> None:
    logits, labels = some()
    weights = torch.tensor([[2.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    plain = entry_losses(logits, labels, REGRESSION, "cross_entropy")
    weighted = entry_losses(logits, labels, REGRESSION, "cross_entropy", weights)
    assert torch.equal(plain[:, 1:], weighted[:, 1:])
    expected = plain[:, 0] * (2 + 4 * labels[:, 0].nan_to_num(0))
    torch.testing.assert_close(weighted[:, 0], expected)


@pytest.mark.parametrize(("able", "expected"), [({"avx512_bf16": True}, "bf16-mixed"), ({"avx512_f": True}, "32-true")])
def test_a_precision_left_open_is_that_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], expected: str
) -> None:
    """A run's identity says which: other weights come out."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert with_precision(settings(precision=None)).precision == expected
    assert deciding(settings(precision=None), 3.0) == deciding(settings(precision=expected), 3.0)
    assert with_precision(settings(precision="32-true")).precision == "32-true"


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_gradients_of_half_precision_can_be_clipped_on_a_gpu(optimizer: str) -> None:
    """The options of a GPU's optimiser, and a scaler of gradients as half precision has; a CPU computes with both."""
    wanted = settings(optimizer=optimizer, precision="16-mixed", clip_norm=1.0)
    weight = nn.Parameter(torch.ones(3))
    stepper = OPTIMIZERS[optimizer]([weight], lr=0.1, **optimizer_options(wanted, on_gpu=True))
    precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=8.0))
    precision.backward(weight.sum(), None)
    precision.unscale_gradients(stepper)
    assert weight.grad is not None
    assert weight.grad.tolist() == [1, 1, 1]
