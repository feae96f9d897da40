"""Lines and planes: as if every network on them had been evaluated alone."""

import pytest
import torch

import thermolib as tl
from companion.recipes import landscapes

A, B = [0.0, 0.25, 1.0, 1.5], [0.0, 0.5, 1.0]


@pytest.fixture(scope="module")
def setting():
    ensemble = tl.Ensemble(tl.models.shlp(2, 7), 3, tl.init.normal(0.7), seed=1, device="cpu")
    ends = [tl.Ensemble(ensemble.module, 3, tl.init.normal(1.0), seed=s, device="cpu").q for s in (2, 3)]
    return ensemble, tl.datasets.spirals(turns=1, train=20, test=30).test, ensemble.q, *ends


def alone(ensemble, data, q):
    """The loss of one network, the plain way."""
    for name, parameter in ensemble.module.named_parameters():
        parameter.copy_(ensemble.named(q)[name])
    with torch.no_grad():
        return tl.losses.bce(ensemble.module(data.x), data.y).item()


def test_a_line_equals_its_networks_one_by_one(setting):
    ensemble, data, start, end, _ = setting
    found = landscapes.line(ensemble, tl.losses.bce, data, start, end, A)
    assert found.shape == (3, 4)
    for r in range(3):
        for i, a in enumerate(A):
            assert found[r, i].item() == pytest.approx(
                alone(ensemble, data, start[r] + a * (end[r] - start[r])), rel=1e-5
            )


def test_a_plane_equals_its_networks_one_by_one(setting):
    ensemble, data, start, one, two = setting
    found = landscapes.plane(ensemble, tl.losses.bce, data, start, one, two, A, B)
    assert found.shape == (3, 4, 3)
    for r in range(3):
        for i, a in enumerate(A):
            for j, b in enumerate(B):
                f1, f2 = (a * (end[r] - start[r]) + start[r] for end in (one, two))
                assert found[r, i, j].item() == pytest.approx(alone(ensemble, data, b * f1 + (1 - b) * f2), rel=1e-5)


def test_the_ends_are_met_to_the_last_bit(setting):
    ensemble, data, start, one, two = setting
    loss = ensemble.potential(tl.losses.bce, data)
    line = landscapes.line(ensemble, tl.losses.bce, data, start, one, [0, 1])
    plane = landscapes.plane(ensemble, tl.losses.bce, data, start, one, two, [0, 1], [0, 1])
    assert line.T.equal(torch.stack([loss(start), loss(one)]))
    assert plane.equal(torch.stack([torch.stack([loss(start)] * 2, 1), torch.stack([loss(two), loss(one)], 1)], 1))


def test_the_edges_of_a_plane_are_lines(setting):
    ensemble, data, start, one, two = setting
    plane = landscapes.plane(ensemble, tl.losses.bce, data, start, one, two, A, [0, 1])
    for j, end in enumerate((two, one)):
        edge = landscapes.line(ensemble, tl.losses.bce, data, start, end, A)
        torch.testing.assert_close(plane[:, :, j], edge)


@pytest.mark.parametrize("lot", [1, 2500])
def test_lots_change_nothing(setting, monkeypatch, lot):
    ensemble, data, start, one, two = setting
    whole = landscapes.plane(ensemble, tl.losses.bce, data, start, one, two, A, B)
    monkeypatch.setattr(landscapes, "LOT", lot)
    torch.testing.assert_close(landscapes.plane(ensemble, tl.losses.bce, data, start, one, two, A, B), whole)


def test_rows_are_free(setting):
    ensemble, data, start, end, _ = setting
    twice = landscapes.line(ensemble, tl.losses.bce, data, torch.cat([start, start]), torch.cat([end, end]), A)
    torch.testing.assert_close(twice[3:], landscapes.line(ensemble, tl.losses.bce, data, start, end, A))


def test_a_replica_that_diverged_spoils_no_place_but_its_own(setting):
    ensemble, data, start, end, _ = setting
    broken = end.clone()
    broken[1] = float("inf")
    found = landscapes.line(ensemble, tl.losses.bce, data, start, broken, [0, 0.5])
    assert found[[0, 2]].isfinite().all() and found[1, 0].isfinite() and not found[1, 1].isfinite()


def test_a_barrier_is_the_highest_point_above_the_start():
    assert landscapes.barrier(torch.tensor([[1.0, 3.0, 0.5], [1.0, 0.9, 0.2]])).tolist() == [2.0, 0.0]


def test_a_known_barrier_is_found():
    """One weight, one point: the loss along the line from -1 to 3 is (1 - w)^2 in closed form."""
    ensemble = tl.Ensemble(torch.nn.Linear(1, 1, bias=False), 1, tl.init.zeros(), device="cpu")
    data = tl.datasets.Split(torch.ones(1, 1), torch.ones(1))
    found = landscapes.line(
        ensemble, tl.losses.mse, data, torch.tensor([[-1.0]]), torch.tensor([[5.0]]), torch.linspace(0, 1, 7)
    )
    torch.testing.assert_close(found[0], (torch.linspace(-1, 5, 7) - 1) ** 2)
    assert landscapes.barrier(found).item() == pytest.approx(12)


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"start": torch.zeros(29)}, r"start has the shape \(29,\): it must be \[R, 29\]"),
        ({"start": torch.zeros(3, 28)}, r"start has the shape \(3, 28\): it must be \[R, 29\]"),
        ({"start": torch.zeros(0, 29)}, r"start has the shape \(0, 29\)"),
        ({"end": torch.zeros(2, 29)}, "end has 2 rows and start has 3"),
        ({"alphas": []}, r"alphas has the shape \(0,\)"),
        ({"alphas": [[0.5]]}, r"alphas has the shape \(1, 1\)"),
        ({"alphas": [0.0, float("nan")]}, "finite numbers"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(setting, wrong, says):
    ensemble, data, start, end, _ = setting
    given = {"start": start, "end": end, "alphas": A} | wrong
    with pytest.raises(ValueError, match=says):
        landscapes.line(ensemble, tl.losses.bce, data, **given)


def test_a_barrier_needs_two_places():
    with pytest.raises(ValueError, match="at least 2"):
        landscapes.barrier(torch.ones(3, 1))


def surface(function, n=21):
    x = torch.linspace(-1.5, 1.5, n)
    return function(*torch.meshgrid(x, x, indexing="ij"))


def test_the_pass_between_two_wells_is_their_saddle():
    """(x^2 - 1)^2 + y^2 has minima at (-1, 0) and (1, 0), and its saddle at the origin with the height 1."""
    wells = surface(lambda x, y: (x**2 - 1) ** 2 + y**2, 31)
    (found,) = landscapes.passes(wells)
    assert (found.row, found.column) == (15, 15) and found.rise == pytest.approx(1)
    assert landscapes.lowest_pass(wells, (5, 15), (25, 15)) == found
    assert landscapes.lowest_pass(wells, (5, 15), (8, 15)) == (0.0, 8, 15)


def test_a_basin_is_as_deep_as_the_flood_says():
    """Basins at 0, 2 and 1 with ridges at 5 and 3: the shallower of two that meet is the one that ends."""
    profile = torch.tensor([[0.0, 5.0, 2.0, 3.0, 1.0]])
    assert landscapes.passes(profile) == [(1.0, 0, 3), (4.0, 0, 1)]
    assert landscapes.lowest_pass(profile, (0, 0), (0, 2)) == (3.0, 0, 1)


@pytest.mark.parametrize("function", [lambda x, y: x + 2 * y, lambda x, y: x**2 + y**2 + x * y, lambda x, y: -(x**2)])
def test_no_saddle_where_there_is_none(function):
    assert not [one for one in landscapes.passes(surface(function)) if 0 < one.row < 20 and 0 < one.column < 20]


@pytest.mark.parametrize("wrong", [torch.ones(3), torch.ones(0, 2), torch.tensor([[1.0, float("nan")]])])
def test_a_flood_needs_a_surface(wrong):
    with pytest.raises(ValueError, match=r"it must be \[n, m\], finite numbers"):
        landscapes.passes(wrong)
