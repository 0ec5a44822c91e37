"""Masked losses against their definitions."""

import math

import pytest
import torch

from tagscale.training.losses import Loss, entry_losses, masked_loss

NAN = float("nan")
REGRESSION = torch.tensor([False, False, True])


def some() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(6, 3, generator=generator)
    labels[0, 0] = labels[3, 1] = labels[4, 2] = NAN
    return torch.randn(6, 3, generator=generator, requires_grad=True), labels


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_against_a_loop_over_the_entries(loss: Loss) -> None:
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
def test_a_missing_label_has_no_gradient(loss: Loss) -> None:
    logits, labels = some()
    (gradient,) = torch.autograd.grad(masked_loss(logits, labels, REGRESSION, loss), logits)
    assert torch.isfinite(gradient).all()
    assert (gradient[labels.isnan()] == 0).all()
    assert (gradient[~labels.isnan()] != 0).all()


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_what_a_model_says_about_a_missing_label_changes_nothing(loss: Loss) -> None:
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
