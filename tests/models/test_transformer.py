"""The Music Tagging Transformer: published size, any length, and its layer against PyTorch's own."""

import pytest
import torch
from torch import nn

from tagscale.models.build import parameter_count
from tagscale.models.transformer import EncoderLayer, TransformerTagger
from tagscale.runtime.errors import TagscaleError


def small(dropout: float = 0.1) -> TransformerTagger:
    torch.manual_seed(0)
    return TransformerTagger(3, width=1 / 16, layers=2, dropout=dropout)


def test_parameters_are_those_of_the_release_without_its_batch_norm_of_the_input() -> None:
    first, later = 2 * (9 * 128 + 128) + 9 * 128**2 + 128 + 6 * 128, 2 * (9 * 128**2 + 128) + 4 * 128
    front_end = first + 2 * later + 16 * 128 * 256 + 256
    positions = 513 * 256 + 256
    layer = 2 * 2 * 256 + 3 * 256**2 + 256**2 + 256 + 2 * 4 * 256**2 + 5 * 256
    head = 2 * 256 + 256 * 50 + 50
    expected = front_end + positions + 4 * layer + head
    assert parameter_count(TransformerTagger(50, width=1, layers=4, dropout=0.1)) == expected == 4_567_730


@pytest.mark.parametrize("samples", [2_048, 16_000, 48_000, 240_000])
def test_any_length_from_one_token_on(samples: int) -> None:
    assert small().eval()(0.1 * torch.randn(2, samples)).shape == (2, 3)


def test_too_short_is_refused() -> None:
    assert TransformerTagger.shortest(width=1.0, layers=4, dropout=0.1) == 2_048
    with pytest.raises(TagscaleError, match="2048 samples"):
        small()(torch.zeros(1, 2_047))


def test_positions_are_stretched_over_more_tokens_than_were_learned() -> None:
    model = small()
    assert torch.equal(model.positions_of(512), model.positions)
    stretched = model.positions_of(1_023)
    assert stretched.shape == (1_024, 16)
    torch.testing.assert_close(stretched[:1], model.positions[:1])  # of the class token
    torch.testing.assert_close(stretched[1::2], model.positions[1:])  # every other position, and the mean of its
    torch.testing.assert_close(stretched[2], model.positions[1:3].mean(dim=0))  # neighbours in between


def test_no_filter_left() -> None:
    with pytest.raises(TagscaleError, match=r"model\.transformer\.width: 0\.001 leaves none"):
        TransformerTagger(3, width=0.001, layers=4, dropout=0.1)


def test_gradient_reaches_every_parameter() -> None:
    model = small(dropout=0.0)
    wave = 0.3 * torch.randn(4, 16_000)
    model.log_mel.fit_normalisation([wave])
    model(wave).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_score_does_not_depend_on_the_rest_of_the_batch() -> None:
    model, waves = small().eval(), 0.3 * torch.randn(3, 20_000)
    alone = torch.cat([model(wave[None]) for wave in waves])
    torch.testing.assert_close(model(waves), alone, atol=1e-5, rtol=1e-5)


def test_layer_against_pytorchs() -> None:
    """Tolerance 1e-10, float64. Theirs has a bias on queries, keys and values: zero here."""
    torch.manual_seed(0)
    ours = EncoderLayer(16, 0.0).double()
    theirs = nn.TransformerEncoderLayer(16, 8, 64, 0.0, "gelu", batch_first=True, norm_first=True).double()
    pairs = {
        theirs.self_attn.in_proj_weight: ours.queries_keys_values.weight,
        theirs.self_attn.out_proj.weight: ours.merge.weight,
        theirs.self_attn.out_proj.bias: ours.merge.bias,
        theirs.linear1.weight: ours.expand.weight,
        theirs.linear1.bias: ours.expand.bias,
        theirs.linear2.weight: ours.reduce.weight,
        theirs.linear2.bias: ours.reduce.bias,
    }
    with torch.no_grad():
        theirs.self_attn.in_proj_bias.zero_()
        for target, source in pairs.items():
            target.copy_(source)
    x = torch.randn(2, 7, 16, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-10, rtol=0)
