"""Partitioned integrators: equipartition at two temperatures at once, limits, and any assignment of parameters."""

import math

import pytest
import torch
from torch import nn

import thermolib as tl
from thermolib.ground import noise

Z = 5.0


def coupled(q):
    """Two groups of two oscillators, coupled across the groups."""
    return 0.5 * q.square().sum(1) + 0.25 * (q[:, 0] - q[:, 2]).square()


def separate(q):
    return 0.5 * q.square().sum(1)


GROUPS = {"hidden": (slice(0, 2),), "output": (slice(2, 4),)}


def with_columns(law, columns=GROUPS):
    return tl.Partitioned(law.parts, law.step_size, columns)


@pytest.fixture(scope="module")
def mlp():
    data = tl.datasets.spirals(turns=1, train=40, test=40)
    return tl.Ensemble(tl.models.shlp(2, 5), replicas=3, seed=2, dtype=torch.float64), data


def test_equipartition_at_two_temperatures():
    """Each group settles at its own temperature, of momenta and positions, and not at the other's."""
    law = with_columns(tl.LangevinInLayers(0.2, (1.0, 2.0), (0.3, 1.2), "BAOA"))
    start = torch.zeros(20000, 4)
    observe = {
        f"{what} {group}": lambda s, what=what, part=part: getattr(s, what)[:, part].square().mean(1)
        for what in "qp"
        for group, (part,) in GROUPS.items()
    }
    last = tl.simulate(separate, law, start, 60, observe=observe, every=60).last
    for name in observe:
        for group, temperature in (("hidden", 0.3), ("output", 1.2)):
            values = last[name]
            # BAOA shows momenta around O; its positions at the force point, both exact for an oscillator
            near = abs(values.mean() - temperature) < Z * values.sem()
            assert near == (group in name), f"{name}: {values.mean()} ± {values.sem()} against {temperature}"


def test_one_dynamics_in_all_groups_is_that_dynamics():
    """Split over groups without noise, a dynamics is what it is unsplit; the force is evaluated once."""
    calls = []

    def counted(q):
        calls.append(1)
        return coupled(q)

    q = noise.key(0, 5).normal(noise.INIT, 4, torch.float64)
    whole = tl.simulate(coupled, tl.Langevin("BAOAB", 0.3, 0.5, 0.0), q, 40, every=40)
    split = tl.simulate(counted, with_columns(tl.LangevinInLayers(0.3, 0.5, 0.0)), q, 40, every=40)
    torch.testing.assert_close(split.final.q, whole.final.q)
    torch.testing.assert_close(split.final.state.p, whole.final.state.p)
    assert len(calls) == 40  # one more would observe nothing


def test_lol_without_output_temperature_is_gradient_descent_there():
    """At zero output temperature the output layer follows SGD with the rate h^2 / 2, half of it in the first step:
    a word begins with half a kick."""
    h = 0.3
    q = noise.key(0, 5).normal(noise.INIT, 4, torch.float64)
    law = with_columns(tl.LOL(h, friction=1.0, temperature=(0.5, 0.0)))
    hist = tl.simulate(separate, law, q, 30, every=30)
    expected = q[:, 2:] * (1 - h**2 / 4) * (1 - h**2 / 2) ** 29
    torch.testing.assert_close(hist.final.q[:, 2:], expected)
    wrong = q[:, 2:] * (1 - h**2 / 2) * (1 - h**2) ** 29
    assert not torch.allclose(hist.final.q[:, 2:], wrong, rtol=1e-2)


def test_lol_with_output_temperature_is_the_overdamped_limit():
    """The output layer samples the same positions as chain A at any friction: T / K, here at infinite friction."""
    law = with_columns(tl.LOL(0.5, friction=1.0, temperature=(0.3, 1.2)))
    key = noise.key(5, 20000)
    scale = torch.tensor([0.3, 0.3, 1.2, 1.2]).sqrt()
    q, p = (key.normal(noise.INIT + i, 4) * scale for i in range(2))
    state = law.init(q)._replace(p=p)
    values = tl.simulate(separate, law, state, 30, every=30, observe={"T": lambda s: s.q[:, 2:].square().mean(1)}).last
    assert abs(values["T"].mean() - 1.2) < Z * values["T"].sem()
    assert abs(values["T"].mean() - 0.6) > Z * values["T"].sem()  # what the Euler step of SGLD would come to at T/2


def test_adlala_on_one_network_follows_its_two_dynamics(mlp):
    """One step by hand: the hidden group by Adaptive Langevin, the output group by Langevin, one force."""
    ensemble, data = mlp
    law = tl.AdLaLa(0.1, (1e-2, 1e-3), 0.5, 0.2, 0.1).bind(ensemble.sizes)
    key = noise.key(3, 3, 0)
    potential = tl.nets.ensemble.Batch(ensemble, tl.losses.bce, *ensemble.checked(data.train))
    state = law.step(law.init(ensemble.q), potential, key)
    force = potential.force(ensemble.q)
    hidden = ensemble.names.index("output.weight")
    cut = sum(list(ensemble.sizes.values())[:hidden])

    class Given:
        def __init__(self, part):
            self.part = part

        def force(self, q):
            return force[:, self.part]

    first, second = slice(0, cut), slice(cut, None)
    adaptive = tl.AdaptiveLangevin("BACDEDCAB", 0.1, 1e-2, 0.2, 0.1)
    langevin = tl.Langevin("BAOAB", 0.1, 0.5, 1e-3)
    a = adaptive.step(adaptive.init(ensemble.q[:, first]), Given(first), key)
    b = langevin.step(langevin.init(ensemble.q[:, second]), Given(second), key.at(offset=64))
    torch.testing.assert_close(state.q, torch.cat([a.q, b.q], 1))
    torch.testing.assert_close(state.p, torch.cat([a.p, b.p], 1))
    torch.testing.assert_close(state.parts["hidden"]["xi"], a.xi)


def test_three_layers_with_three_dynamics():
    """Langevin, Adaptive Langevin and SGD side by side, compiled and eager, learn and agree."""
    module = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    data = tl.datasets.spirals(turns=0.5, train=100, test=100)
    ensemble = tl.Ensemble(module, replicas=4, seed=1, dtype=torch.float64)
    law = tl.Partitioned(
        {
            "0": tl.AdaptiveLangevin(temperature=1e-5, noise=0.01),
            "2.*": tl.Langevin("OBABO", 0.1, 1.0, 1e-5),
            "4": tl.SGD(),
        },
        step_size=0.3,
    )
    loss = {"loss": tl.observe.loss(tl.losses.bce, data.train)}
    runs = [
        tl.train(ensemble, law, data, loss=tl.losses.bce, batch_size=20, steps=400, observe=loss, compile=c)
        for c in (False, True)
    ]
    torch.testing.assert_close(runs[0].final.q, runs[1].final.q, rtol=1e-6, atol=1e-6)
    frame = runs[0].frame
    assert (runs[0].last["loss"].values < 0.7 * frame[frame["step"] == 0]["loss"].values).all()


def test_groups_of_scattered_parameters(mlp):
    """A group may be biases here and weights there."""
    ensemble, data = mlp
    law = tl.Partitioned({"*.bias": tl.SGD(), "*": tl.Langevin("BAOAB", friction=math.inf)}, 0.2)
    hist = tl.train(ensemble, law, data, loss=tl.losses.bce, steps=1, progress=False)
    force = tl.nets.ensemble.Batch(ensemble, tl.losses.bce, *ensemble.checked(data.train)).force(ensemble.q)
    moved = ensemble.named((hist.final.q - ensemble.q) / force)
    for name in ensemble.names:
        rate = 0.2 if name.endswith("bias") else 0.2**2 / 4  # a word begins with half a kick
        torch.testing.assert_close(moved[name], torch.full_like(moved[name], rate))


def test_the_last_layer_is_the_output_where_nothing_is_named():
    sizes = {"0.weight": 4, "0.bias": 2, "2.weight": 2, "2.bias": 1}
    law = tl.AdLaLa().bind(sizes)
    assert law.columns_of == {"hidden": (slice(0, 6),), "output": (slice(6, 9),)}


def test_a_tied_head_is_the_output():
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.body = torch.nn.Embedding(5, 3), torch.nn.Linear(3, 3)
            self.head = torch.nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x):
            return self.head(torch.tanh(self.body(self.embed(x))))

    ensemble = tl.Ensemble(Tied(), 2, device="cpu")
    bound = tl.LOL(0.1).bind(ensemble.sizes)
    assert bound.columns_of == {"output": (slice(0, 15),), "hidden": (slice(15, 27),)}
    data = tl.datasets.Split(torch.arange(5), torch.arange(5).roll(1))
    law = tl.LangevinInLayers(step_size=1e-3, friction=(1.0, 1e9), temperature=0.0)
    end = tl.train(ensemble, law, data, loss=torch.nn.functional.cross_entropy, steps=200, progress=False).final
    assert end.state.p[:, :15].abs().max() < 1e-2 * end.state.p[:, 15:].abs().max(), "the tied weight is the heavy one"


def test_one_value_per_replica_in_every_part(mlp):
    """Two temperatures in one call are the two runs with one temperature each."""
    ensemble, data = mlp
    values = torch.tensor([1e-2, 1e-3, 1e-4])
    both = tl.train(ensemble, tl.AdLaLa(temperature=(values, 1e-4)), data, loss=tl.losses.bce, batch_size=10, steps=20)
    for replica, value in enumerate(values):
        alone = tl.train(
            ensemble, tl.AdLaLa(temperature=(float(value), 1e-4)), data, loss=tl.losses.bce, batch_size=10, steps=20
        )
        torch.testing.assert_close(both.final.q[replica], alone.final.q[replica])
    assert both.last["hidden.temperature"].tolist() == pytest.approx(values.tolist())


def test_bad_input(mlp):
    ensemble, data = mlp

    def attempt(law):
        tl.train(ensemble, law, data, loss=tl.losses.bce, batch_size=10, steps=2)

    with pytest.raises(ValueError, match=r"none of them takes the parameter 'hidden\.weight'"):
        attempt(tl.Partitioned({"output": tl.SGD(), "first": tl.SGD()}))
    with pytest.raises(ValueError, match=r"parts\['third'\] takes no parameter"):
        attempt(tl.Partitioned({"hidden": tl.SGD(), "output": tl.SGD(), "third": tl.SGD()}))
    with pytest.raises(ValueError, match=r"parts=\{\}"):
        tl.Partitioned({})
    with pytest.raises(ValueError, match="second force in one step"):
        attempt(tl.LangevinInLayers(word="BABAO"))
    with pytest.raises(ValueError, match="must be a dynamics of its own"):
        tl.Partitioned({"hidden": tl.AdLaLa()})
    with pytest.raises(ValueError, match="columns_of"):
        tl.simulate(separate, tl.LOL(), torch.zeros(2, 4), 1)
    with pytest.raises(ValueError, match="does not cover each of the 4 parameters once"):
        columns = {"hidden": (slice(0, 2),), "output": (slice(1, 4),)}
        tl.simulate(separate, with_columns(tl.LOL(), columns), torch.zeros(2, 4), 1)
    with pytest.raises(ValueError, match="temperature has 3 values"):
        tl.AdLaLa(temperature=(1, 2, 3))
    with pytest.raises(ValueError, match="temperature has 3 values"):
        tl.LOL(temperature=(1, 2, 3))
    with pytest.raises(ValueError, match="3 replicas: allowed are 1 or 3"):
        attempt(tl.AdLaLa(noise=torch.ones(2)))
