"""The average of weights against its formula, and the network that it is lent to."""

import torch
from torch import nn

from tagscale.training.averaging import WeightAverage, decay


def test_it_is_the_exponential_average_of_all_floating_tensors() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = WeightAverage(network, 0.9)
    expected = {key: tensor.clone() for key, tensor in average.tensors.items()}
    assert "1.running_mean" in expected
    assert "1.num_batches_tracked" not in expected
    for step in range(100):
        with torch.no_grad():
            for key, tensor in network.state_dict().items():
                if key in expected:
                    tensor.normal_(generator=torch.Generator().manual_seed(step))
                    expected[key] = decay(step, 0.9) * expected[key] + (1 - decay(step, 0.9)) * tensor
        average.update(step)
    for key, tensor in expected.items():
        torch.testing.assert_close(average.tensors[key], tensor)


def test_a_network_gets_its_own_weights_back() -> None:
    network = nn.Linear(2, 3)
    average = WeightAverage(network, 0.5)
    mean = average.tensors["weight"].clone()
    nn.init.ones_(network.weight)
    with average.applied():
        assert torch.equal(network.weight, mean)
    assert (network.weight == 1).all()
    assert torch.equal(average.tensors["weight"], mean)
