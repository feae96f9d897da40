"""Two processes take the path of one, to rounding: replicated, each with some parameters, each with a shard."""

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer

import thermolib as tl
from tests.processes import together
from tests.test_optim import batch, network, train, vector

STEPS = 12
GIVEN = {"step_size": 0.1, "temperature": 1e-3, "seed": 5}


def alone(make):
    module = network(torch.float64)
    train(module, make(module), STEPS)
    return vector(module)


def replicated(rank, world, data):
    module = network(torch.float64)
    train(
        nn.parallel.DistributedDataParallel(module), tl.optim.Langevin(module.named_parameters(), **GIVEN), STEPS, data
    )
    return vector(module)


def parted(rank, world, data):
    """Each process steps some of the parameters, and sends them to the others."""
    module = network(torch.float64)
    with pytest.raises(ValueError, match="hands on no names"):
        ZeroRedundancyOptimizer(module.parameters(), tl.optim.Langevin, **GIVEN)
    optimizer = ZeroRedundancyOptimizer(tl.optim.named(module), tl.optim.Langevin, **GIVEN)
    train(nn.parallel.DistributedDataParallel(module), optimizer, STEPS, data)
    other, law = network(torch.float64), tl.optim.AdaptiveLangevin
    each = {"thermostats": "tensor", **GIVEN}
    one = ZeroRedundancyOptimizer(tl.optim.named(other), law, **each)
    train(nn.parallel.DistributedDataParallel(other), one, STEPS, data)
    torch.testing.assert_close(vector(other), alone(lambda m: law(m.named_parameters(), **each)))
    for shared in (tl.optim.AdaptiveLangevin, tl.optim.NoseHooverChain):
        other = network(torch.float64)
        refused = ZeroRedundancyOptimizer(tl.optim.named(other), shared, step_size=0.1)
        tl.losses.bce(other(data[0]), data[1]).backward()
        with pytest.raises(ValueError, match=r"cut over several processes, and (xi|s) is one for all of them"):
            refused.optim.step()
    assert 0 < sum(len(group["params"]) for group in optimizer.optim.param_groups) < 4
    return vector(module)


def sharded(rank, world, data):
    """Each process holds some rows of each parameter, or none."""
    module = network(torch.float64)
    fully_shard(module, mesh=init_device_mesh("cpu", (world,)))
    optimizer = tl.optim.Langevin(module.named_parameters(), **GIVEN)
    train(module, optimizer, STEPS, data)
    states = [optimizer.state[p]["p"] for p in module.parameters()]
    assert all(state.placements == p.placements for state, p in zip(states, module.parameters(), strict=True))
    with pytest.raises(ValueError, match="cut over several processes, and xi is one"):
        train(module, tl.optim.AdaptiveLangevin(module.named_parameters()), 1, data)
    return torch.cat([p.full_tensor().flatten() for p in module.parameters()]).detach()


WAYS = (replicated, parted, sharded)


def _rank(rank, world, folder):
    x, y = batch(torch.float64)
    for way in WAYS:
        torch.save(way(rank, world, (x[rank::world], y[rank::world])), f"{folder}/{way.__name__}.{rank}.pt")


def test_two_processes_take_the_path_of_one(tmp_path):
    together(_rank, str(tmp_path))
    expected = alone(lambda module: tl.optim.Langevin(module.named_parameters(), **GIVEN))
    other = alone(lambda module: tl.optim.Langevin(module.named_parameters(), **GIVEN | {"seed": 6}))
    assert not torch.allclose(expected, other, atol=1e-3)
    for way in WAYS:
        for rank in range(2):
            found = torch.load(tmp_path / f"{way.__name__}.{rank}.pt", weights_only=True)
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
