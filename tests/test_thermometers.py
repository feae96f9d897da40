"""The configurational temperature of positions that are drawn from the exact law: no run, no burn-in."""

import pytest
import torch

import thermolib as tl
from thermolib.observe import thermometers

T, STIFF, REPLICAS = 0.5, 2000.0, 4000


def equilibrium(parameters):
    """A quadratic with curvature 1 but for one dense direction, and positions from its Boltzmann law at T."""
    generator = torch.Generator().manual_seed(1)
    stiff = torch.randn(parameters, generator=generator, dtype=torch.float64)
    stiff /= stiff.norm()
    q = torch.randn(REPLICAS, parameters, generator=generator, dtype=torch.float64) * T**0.5
    q += (STIFF**-0.5 - 1) * (q @ stiff)[:, None] * stiff
    trace = parameters - 1 + STIFF
    return lambda q: (q.square().sum(1) + (STIFF - 1) * (q @ stiff).square()) / 2, tl.dynamics.Positions(q), trace


@pytest.mark.parametrize("probes", [2, 8])
@pytest.mark.parametrize("parameters", [50, 300])
def test_numerator_and_laplacian_apart_give_the_temperature(parameters, probes):
    """Within 4.5 standard errors of each; the trace of few parameters is exact."""
    potential, state, trace = equilibrium(parameters)
    above = tl.observe.squared_gradient(potential)(state)
    below = tl.observe.laplacian(potential, probes)(state)
    if parameters <= thermometers.EXACT:
        torch.testing.assert_close(below, torch.full_like(below, trace))
    error = ((above.std() / above.mean()) ** 2 + (below.std() / below.mean()) ** 2).sqrt() / REPLICAS**0.5
    assert float(above.mean() / below.mean()) == pytest.approx(T, rel=4.5 * float(error))
    assert float(below.mean()) == pytest.approx(trace, abs=4.5 * float(below.std()) / REPLICAS**0.5 + 1e-6)
    ratio = tl.observe.configurational_temperature(potential, probes)(state)
    torch.testing.assert_close(ratio, above / below)


def test_the_mean_of_the_ratio_is_too_high_where_the_trace_is_estimated(monkeypatch):
    """By 8/6 at eight probes, for a direction that is all of the trace; with the exact trace it is not."""
    potential, state, _ = equilibrium(50)

    def reading():
        return float(tl.observe.configurational_temperature(potential, 8)(state).mean()) / T

    assert reading() == pytest.approx(1, abs=0.1)  # 4.5 standard errors
    monkeypatch.setattr(thermometers, "EXACT", 0)
    assert reading() == pytest.approx(8 / 6, abs=0.15)


def test_signs_are_fresh_at_other_positions_and_the_same_at_the_same():
    """Whoever stands beside a replica, and in whatever order: a resumed run reads what the whole run reads."""
    potential, (q,), _ = equilibrium(300)
    read = tl.observe.laplacian(potential, 2)
    whole = read(tl.dynamics.Positions(q[:50]))
    torch.testing.assert_close(read(tl.dynamics.Positions(q[[7, 3]])), whole[[7, 3]])
    assert len(whole.unique()) > 45, "each replica has signs of its own"
    moved = read(tl.dynamics.Positions(q[:50] * (1 + 1e-12)))
    assert float(torch.corrcoef(torch.stack([whole, moved]))[0, 1].abs()) < 0.6
    other = tl.observe.laplacian(potential, 2, seed=1)(tl.dynamics.Positions(q[:50]))
    assert not torch.allclose(other, whole)
    with pytest.raises(ValueError, match="probes=0"):
        tl.observe.laplacian(potential, 0)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_narrow_numbers_have_signs_too(kind):
    curved = tl.observe.laplacian(lambda q: q.square().sum(1) / 2, 3)
    q = torch.randn(4, 300, generator=torch.Generator().manual_seed(3)).to(kind)
    assert curved(tl.dynamics.Positions(q)).tolist() == pytest.approx([300] * 4, rel=0.01)
