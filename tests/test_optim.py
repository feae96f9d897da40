"""The integrators as optimizers, from their records."""

import copy

import pytest
import torch
from torch import nn

import thermolib as tl
from tests.processes import together
from tests.records import OPTIMIZERS as RECORDS

each = pytest.mark.parametrize("name", RECORDS)
noisy = pytest.mark.parametrize("name", [name for name, record in RECORDS.items() if record.noisy])


def network(dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    return tl.models.shlp(2, 6).to(dtype)


def batch(dtype=torch.float32):
    x, y = tl.datasets.spirals(turns=1, train=40, test=40).train
    return x.to(dtype), y.to(dtype)


def train(module, optimizer, steps, data=None):
    x, y = batch(next(module.parameters()).dtype) if data is None else data
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = tl.losses.bce(module(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def vector(module):
    return nn.utils.parameters_to_vector(module.parameters()).detach().clone()


@each
def test_without_noise_it_is_the_integrator(name):
    """The optimizer's steps are those of the integrator on an ensemble of one, to rounding."""
    record = RECORDS[name]
    module = network(torch.float64)
    ensemble = tl.Ensemble(module, dtype=torch.float64)
    q = vector(module)[None]
    law = record.counterpart(**record.arguments | record.quiet).bind(ensemble.sizes)
    potential = tl.nets.ensemble.Batch(ensemble, tl.losses.bce, *ensemble.checked(batch(torch.float64)))
    state = law.init(q)
    for step in range(25):
        state = law.step(state, potential, tl.noise.key(0, 1, step))
    train(module, record.build(module, **record.quiet), 25)
    torch.testing.assert_close(vector(module)[None], state.q, rtol=1e-10, atol=1e-10)


@noisy
def test_with_noise_it_moves_otherwise_and_repeatably(name):
    record = RECORDS[name]
    ends = []
    for changes in ({}, {}, {"seed": 1}, record.quiet):
        module = network()
        train(module, record.build(module, **changes), 10)
        ends.append(vector(module))
    assert torch.equal(ends[0], ends[1])
    assert not torch.allclose(ends[0], ends[2])
    assert not torch.allclose(ends[0], ends[3])


@noisy
def test_no_two_parameters_share_their_noise(name):
    """At zero gradients and equal shapes, what moves the parameters is uncorrelated between them."""
    module = nn.Sequential(nn.Linear(30, 30, bias=False), nn.Linear(30, 30, bias=False), nn.Linear(30, 30, bias=False))
    for p in module.parameters():
        nn.init.zeros_(p)
        p.grad = torch.zeros_like(p)
    optimizer = RECORDS[name].build(module)
    if name == "LOL":  # its output layer has no noise
        optimizer.param_groups[1]["temperature"] = 1e-3
    for _ in range(2):  # the adaptive word shakes momenta behind its last drift
        optimizer.step()
    rows = torch.stack([p.detach().flatten() for p in module.parameters()])
    off = torch.corrcoef(rows)[torch.triu(torch.ones(3, 3), 1).bool()]
    assert (off.abs() < 5 / 30).all(), off
    assert (rows.std(1) > 0).all()


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_state_dict_round_trip(name, dtype):
    """Saved in the middle and loaded into a new optimizer, a run ends to the bit where it would have ended."""
    record = RECORDS[name]
    module = network(dtype)
    optimizer = record.build(module)
    train(module, optimizer, 5)
    saved = copy.deepcopy(optimizer.state_dict())
    twin = copy.deepcopy(module)
    loaded = record.build(twin, **{record.rate: 0.05} | ({"seed": 9} if record.noisy else {"steps": 7}))
    loaded.load_state_dict(saved)
    assert torch.equal(vector(twin), vector(module))
    train(module, optimizer, 5)
    train(twin, loaded, 5)
    assert torch.equal(vector(twin), vector(module))


@each
def test_the_state_dict_is_safe_to_save(name, tmp_path):
    module = network()
    optimizer = RECORDS[name].build(module)
    train(module, optimizer, 2)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    RECORDS[name].build(network()).load_state_dict(loaded)


@each
def test_bfloat16_follows_single_precision(name):
    """Steps that a narrow type would round away add up in the copy that is kept."""
    record = RECORDS[name]
    wide, narrow = network(), network().to(torch.bfloat16)
    with torch.no_grad():
        for w, n in zip(wide.parameters(), narrow.parameters(), strict=True):
            w.copy_(n)
    a, b = (record.build(m, **{record.rate: 1e-3}) for m in (wide, narrow))
    x, y = batch()
    for _ in range(30):
        a.zero_grad()
        tl.losses.bce(wide(x), y).backward()
        for w, n in zip(wide.parameters(), narrow.parameters(), strict=True):
            n.grad = w.grad.to(torch.bfloat16)
        a.step()
        b.step()
    kept = torch.cat([b.state[p]["master"].flatten() for p in narrow.parameters()])
    start = vector(network().to(torch.bfloat16)).float()
    moved = (vector(wide) - start).norm()
    assert (kept - vector(wide)).norm() < 0.01 * moved
    assert torch.equal(vector(narrow), kept.to(torch.bfloat16))


@each
def test_parameters_without_gradient_stay(name):
    module = network()
    module.hidden.bias.requires_grad_(False)
    before = module.hidden.bias.clone()
    optimizer = RECORDS[name].build(module)
    train(module, optimizer, 3)
    assert torch.equal(module.hidden.bias, before)


@each
def test_groups_and_schedulers(name):
    """A scheduler changes the step size of a group; the other hyperparameters may be changed by hand."""
    record = RECORDS[name]
    module = network()
    optimizer = record.build(module)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    for _ in range(4):
        train(module, optimizer, 1)
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [pytest.approx(0.025)] * len(optimizer.param_groups)
    params = tl.optim.layers(module)
    params[0][record.rate] = 0.01
    assert [g["lr"] for g in record.make(params, **record.arguments).param_groups] == [0.01, 0.1]


@each
def test_it_learns(name):
    module = network()
    losses = train(module, RECORDS[name].build(module, **{RECORDS[name].rate: 0.5} | RECORDS[name].quiet), 200)
    assert losses[-1] < 0.9 * losses[0]


@each
def test_a_closure_is_called_with_gradients(name):
    module = network()
    optimizer = RECORDS[name].build(module)
    x, y = batch()

    def closure():
        optimizer.zero_grad()
        loss = tl.losses.bce(module(x), y)
        loss.backward()
        return loss

    assert optimizer.step(closure).item() > 0


@each
def test_bad_input(name):
    record = RECORDS[name]
    for argument, value in record.refused.items():
        with pytest.raises(ValueError, match=argument):
            record.build(network(), **{argument: value})
        if not record.grouped:
            with pytest.raises(ValueError, match=argument):
                record.make([{"params": network().parameters(), argument: value}], **record.arguments)
    if record.grouped:
        with pytest.raises(ValueError, match="two groups"):
            record.make(network().parameters(), **record.arguments)


def test_a_word_with_two_forces_is_refused():
    module = network()
    with pytest.raises(ValueError, match="second force in one step"):
        train(module, tl.optim.Langevin(module.parameters(), word="BABAO"), 1)


#: One whose noise is in all layers, and one of two dynamics.
PARALLEL = ("Langevin", "AdLaLa")


def _rank(rank, world, folder):
    for name in PARALLEL:
        module = network()
        parallel = nn.parallel.DistributedDataParallel(module)
        optimizer = RECORDS[name].build(module)
        x, y = batch()
        train(parallel, optimizer, 20, (x[rank::world], y[rank::world]))
        torch.save(vector(module), f"{folder}/{name}.{rank}.pt")
        del (
            parallel
        )  # before its group: it would end gloo's threads while it holds the lock that they may be waiting for


def test_two_processes_stay_identical(tmp_path):
    """DistributedDataParallel averages the gradients; the noise is not sent, and is the same on both ranks."""
    together(_rank, str(tmp_path))
    for name in PARALLEL:
        first, second = (torch.load(tmp_path / f"{name}.{rank}.pt", weights_only=True) for rank in (0, 1))
        assert torch.equal(first, second), name
        module = network()
        train(module, RECORDS[name].build(module), 20)
        torch.testing.assert_close(first, vector(module), rtol=1e-4, atol=1e-5)
