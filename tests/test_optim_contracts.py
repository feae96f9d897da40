"""What PyTorch's users may rely on, for every optimizer: learning rates of zero, names, copies, gradients, seeds."""

import copy
import dataclasses
import pickle

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

import thermolib as tl
from tests.test_optim import RECORDS, batch, each, network, noisy, train, vector
from thermolib.optim import draws, flat


def step(module, optimizer):
    """One step, for Monte Carlo as well."""
    x, y = batch(next(module.parameters()).dtype)
    if isinstance(optimizer, tl.optim.AdaptiveMonteCarlo):
        return optimizer.step(lambda: tl.losses.bce(module(x), y))
    return train(module, optimizer, 1)


def monte_carlo(module, **given):
    return tl.optim.AdaptiveMonteCarlo(module.parameters(), **{"step_size": 0.05, "seed": 0} | given)


MAKE = {name: record.build for name, record in RECORDS.items()} | {"AdaptiveMonteCarlo": monte_carlo}
all_of_them = pytest.mark.parametrize("name", MAKE)


@all_of_them
def test_a_learning_rate_of_zero_moves_nothing_and_counts_nothing(name):
    """A run with such steps in it is the run without them, to the bit."""
    ends = []
    for rests in (False, True):
        module = network()
        optimizer = MAKE[name](module)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: float(epoch not in (0, 3)))
        for epoch in range(5):
            before = vector(module)
            if rests or epoch not in (0, 3):
                step(module, optimizer)
            if epoch in (0, 3) or name != "AdaptiveMonteCarlo":  # whose moves may be rejected
                assert torch.equal(vector(module), before) == (epoch in (0, 3))
            scheduler.step()
        ends.append(vector(module))
    assert torch.equal(*ends)


@each
def test_distributed_checkpoints_round_trip(name):
    """They take a step at the learning rate 0 to find out what the state of a fresh optimizer holds."""
    module = network()
    optimizer = RECORDS[name].build(module)
    train(module, optimizer, 3)
    twin = copy.deepcopy(module)
    fresh = RECORDS[name].build(twin)
    set_optimizer_state_dict(twin, fresh, get_optimizer_state_dict(module, optimizer))
    for one, other in ((module, optimizer), (twin, fresh)):
        train(one, other, 3)
    assert torch.equal(vector(module), vector(twin))


@all_of_them
def test_the_step_size_has_two_names(name):
    names = {"lr": 0.07}, {"step_size": 0.07}
    other = {"step_size": 0.05, "lr": 0.05}
    module = network()
    record = RECORDS.get(name)
    for given in names:
        if record is None:
            optimizer = tl.optim.AdaptiveMonteCarlo(module.parameters(), **given)
        else:
            arguments = {k: x for k, x in record.arguments.items() if k not in other}
            params = tl.optim.layers(module) if record.grouped else module.parameters()
            optimizer = record.make(params, **arguments | given)
        assert {group["lr"] for group in optimizer.param_groups} == {0.07}
    if record is not None:
        params = tl.optim.layers(module) if record.grouped else module.parameters()
        with pytest.raises(ValueError, match="lr and step_size"):
            record.make(params, **record.arguments | other)


@all_of_them
def test_a_step_size_is_a_number(name):
    rate = RECORDS[name].rate if name in RECORDS else "step_size"
    with pytest.raises(ValueError, match="=True"):
        MAKE[name](network(), **{rate: True})


@all_of_them
def test_unknown_entries_of_a_group_are_refused(name):
    module = network()
    params = [{"params": list(module.parameters())}]
    if name in RECORDS and RECORDS[name].grouped:
        params = tl.optim.layers(module)
    params[-1]["temprature"] = 1.0
    make = RECORDS[name].make if name in RECORDS else tl.optim.AdaptiveMonteCarlo
    given = RECORDS[name].arguments if name in RECORDS else {}
    with pytest.raises(ValueError, match="'temprature'"):
        make(params, **given)


@all_of_them
def test_copies_and_pickles_go_on_to_the_bit(name):
    module = network()
    optimizer = MAKE[name](module)
    for _ in range(3):
        step(module, optimizer)
    copies = [copy.deepcopy((module, optimizer)), pickle.loads(pickle.dumps((module, optimizer)))]
    for _ in range(3):
        step(module, optimizer)
    for twin, other in copies:
        assert type(other) is type(optimizer)
        for _ in range(3):
            step(twin, other)
        assert torch.equal(vector(twin), vector(module))


@each
def test_a_group_added_later_is_stepped(name):
    record = RECORDS[name]
    module = network()
    optimizer = record.build(module)
    train(module, optimizer, 2)
    extra = nn.Parameter(torch.ones(3))
    if record.grouped:
        with pytest.raises(ValueError, match="more groups"):
            optimizer.add_param_group({"params": [extra]})
        return
    optimizer.add_param_group({"params": [extra], "lr": 0.01})
    extra.grad = torch.ones(3)
    before = vector(module)
    optimizer.step()
    optimizer.step()
    assert (extra != 1).all() and not torch.equal(vector(module), before)


@pytest.mark.parametrize("name", [name for name, record in RECORDS.items() if not record.grouped])
def test_complex_parameters_are_pairs_of_real_ones(name):
    """|z|^2 as a function of z is that of its two parts."""
    record = RECORDS[name]
    z = nn.Parameter(torch.tensor([1 + 2j, -1 + 0.5j, 0.3 - 1j], dtype=torch.complex128))
    x = nn.Parameter(torch.view_as_real(z.detach()).clone())
    pair = [record.make([p], **record.arguments | record.quiet) for p in (z, x)]
    for _ in range(5):
        for p, optimizer in zip((z, x), pair, strict=True):
            optimizer.zero_grad()
            (p.abs().square() if p is z else p.square()).sum().backward()
            optimizer.step()
    torch.testing.assert_close(torch.view_as_real(z.detach()), x.detach())
    assert (z.imag - torch.tensor([2.0, 0.5, -1.0])).abs().min() > 1e-3


@each
def test_sparse_gradients_are_refused(name):
    record = RECORDS[name]
    module = nn.ModuleList([nn.Embedding(4, 2, sparse=True), nn.Linear(2, 1)])
    optimizer = record.build(module)
    module[1](module[0](torch.tensor([1, 2]))).sum().backward()
    with pytest.raises(ValueError, match="sparse gradient"):
        optimizer.step()


@noisy
def test_two_optimizers_do_not_share_their_noise(name):
    """Nor does one that was given a seed; and a branch with another seed leaves the path it came from."""
    record = RECORDS[name]
    ends = []
    for seed in (None, None, 0):
        module = network()
        train(module, record.build(module, seed=seed), 3)
        ends.append(vector(module))
    assert not torch.allclose(ends[0], ends[1]) and not torch.allclose(ends[0], ends[2])
    if "NoseHoover" in name:  # only its start is random
        return
    module = network()
    optimizer = record.build(module)
    train(module, optimizer, 3)
    twin = copy.deepcopy(module)
    branch = record.build(twin)
    branch.load_state_dict(optimizer.state_dict())
    for group in branch.param_groups:
        group["seed"] = 7
    for one, other in ((module, optimizer), (twin, branch)):
        train(one, other, 3)
    assert not torch.allclose(vector(module), vector(twin))


def test_noise_is_a_function_of_the_name():
    """In whatever order and group parameters come, each moves as it does alone."""
    moves = []
    for order in (1, -1):
        module = network()
        before = {name: p.detach().clone() for name, p in module.named_parameters()}
        optimizer = tl.optim.SGLD(list(module.named_parameters())[::order], 0.1, 1e-2, seed=3)
        for p in module.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
        moves.append({name: p.detach() - before[name] for name, p in module.named_parameters()})
    for name, move in moves[0].items():
        assert torch.equal(move, moves[1][name]) and move.abs().min() > 0
    with pytest.raises(ValueError, match="'weight'"):
        params = [{"params": list(nn.Linear(2, 2).named_parameters())} for _ in range(2)]
        tl.optim.SGLD(params)


def test_a_shared_thermostat_is_one_whoever_has_a_gradient():
    module = network()
    optimizer = tl.optim.AdaptiveLangevin(module.parameters(), 0.1, seed=0)
    last = module.output.bias
    for _ in range(5):
        last.grad = torch.ones_like(last)
        optimizer.step()
    alone = optimizer.state[module.hidden.weight]["xi"].clone()
    train(module, optimizer, 3)
    assert sum("xi" in state for state in optimizer.state.values()) == 1
    assert alone.item() != 0 and optimizer.state[module.hidden.weight]["xi"].item() != alone.item()


@pytest.mark.parametrize("law", [tl.Langevin(step_size=0.05, temperature=1e-3), tl.AdaptiveLangevin(step_size=0.05)])
def test_compiled_steps_are_the_eager_ones(law, monkeypatch):
    """To rounding, noise included, with a change of the learning rate on the way."""
    ends = []
    for few in (flat.FEW, 0):
        monkeypatch.setattr(flat, "FEW", few)
        module = network()
        optimizer = tl.optim.of(law)(module.named_parameters(), seed=0)
        train(module, optimizer, 10)
        optimizer.param_groups[0]["lr"] = 0.02
        train(module, optimizer, 10)
        ends.append(vector(module))
    assert all(row._program is not None for row in optimizer._rows.values())
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-5)
    assert not torch.equal(*ends), "both ran the same way"


def test_no_noise_is_drawn_at_temperature_zero(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("noise was drawn")

    monkeypatch.setattr(draws.Draws, "draw", refuse)
    for make in (tl.optim.Langevin, tl.optim.SGLD):
        module = network()
        train(module, make(module.parameters(), temperature=0.0), 2)
        with pytest.raises(AssertionError, match="noise was drawn"):
            train(module, make(module.parameters(), temperature=1e-3), 2)


@dataclasses.dataclass(frozen=True)
class Heavy(tl.Momentum):
    """A dynamics of somebody's own, whose state is a copy and holds one number for all parameters."""

    def init(self, q):
        return tl.dynamics.State(q.clone(), torch.zeros_like(q))


def test_any_dynamics_is_an_optimizer():
    """One's own, with the defaults it was made with, alone and as a part; it can be pickled."""
    module, twin = network(), network()
    optimizer = tl.optim.of(Heavy(lr=0.2, rho=0.5))(module.parameters())
    theirs = torch.optim.SGD(twin.parameters(), lr=0.2, momentum=0.5)
    for one, other in ((module, optimizer), (twin, theirs)):
        train(one, other, 10)
    torch.testing.assert_close(vector(module), vector(twin))
    assert optimizer.param_groups[0]["rho"] == 0.5
    again = pickle.loads(pickle.dumps(optimizer))
    assert again.param_groups[0]["made"] == 10 and len(again.state) == 4


def test_three_parts_are_three_groups():
    """Each moves as the optimizer of its own dynamics would move it; names deal the parameters out."""
    parts = {"hidden.bias": tl.SGD(), "hidden": tl.AdaptiveLangevin(noise=0.0), "output": tl.Langevin(friction=0.1)}
    law = tl.Partitioned(parts, step_size=0.2)
    module = network()
    optimizer = tl.optim.of(law)(module.named_parameters(), seed=1)
    sizes = [[p.numel() for p in group["params"]] for group in optimizer.param_groups]
    assert sizes == [[6], [12], [6, 1]] and all(group["lr"] == 0.2 for group in optimizer.param_groups)
    twin = network()
    own = [
        tl.optim.of(tl.SGD)([twin.hidden.bias], step_size=0.2),
        tl.optim.AdaptiveLangevin([twin.hidden.weight], step_size=0.2, noise=0.0),
        tl.optim.Langevin(twin.output.parameters(), step_size=0.2, friction=0.1),
    ]
    for _ in range(5):
        train(module, optimizer, 1)
        x, y = batch()
        twin.zero_grad()
        tl.losses.bce(twin(x), y).backward()
        for part in own:
            part.step()
    torch.testing.assert_close(vector(module), vector(twin))


def test_monte_carlo_leaves_frozen_parameters_and_restores_buffers():
    module = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))
    module[0].requires_grad_(False)
    frozen = module[0].weight.clone()
    optimizer = tl.optim.AdaptiveMonteCarlo(module.parameters(), 0.05, seed=0)
    for _ in range(20):
        before, accepted = copy.deepcopy(dict(module.named_buffers())), optimizer.accepted
        step(module, optimizer)
        if optimizer.accepted == accepted:
            assert all(torch.equal(before[name], b) for name, b in module.named_buffers())
    assert 0 < optimizer.accepted < 20
    assert module[1].num_batches_tracked == optimizer.accepted
    assert torch.equal(module[0].weight, frozen)


def test_a_scheduler_scales_the_moves_of_monte_carlo():
    module = network()
    optimizer = monte_carlo(module)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    for _ in range(4):
        step(module, optimizer)
        scheduler.step()
    step(module, optimizer)
    sigma = next(iter(optimizer.state.values()))["sigma"].item()
    assert sigma == pytest.approx(0.05 / 4)


class Tied(nn.Module):
    """A head that has the weight of the embedding."""

    def __init__(self):
        super().__init__()
        self.embedding, self.middle, self.head = nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight


def test_layers_says_what_it_took_and_finds_a_tied_head():
    def names(*given):
        return [group["param_names"] for group in tl.optim.layers(*given)]

    middle = ["middle.weight", "middle.bias"]
    assert names(Tied()) == names(Tied(), "head") == [middle, ["embedding.weight"]]
    assert names(Tied(), "middle") == [["embedding.weight"], middle]
    assert [group["param_names"] for group in tl.optim.AdLaLa(tl.optim.layers(Tied())).param_groups] == names(Tied())
    for output, found in (("nothing", "none"), ("mid", "none")):
        with pytest.raises(ValueError, match=f"output='{output}' holds {found} of the parameters"):
            tl.optim.layers(Tied(), output)
    with pytest.raises(ValueError, match="holds all of the parameters"):
        tl.optim.layers(nn.Linear(2, 1))
