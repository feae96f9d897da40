"""Runs: what a replica's trajectory depends on, resuming, divergence, and the table."""

import io
import platform
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from small import BAOAB, DATA, needs_compiler, runs, train
from torch.utils._pytree import tree_leaves

import thermolib as tl
from thermolib.engine import chunks, workers

MOMENTS = {"kinetic": tl.observe.kinetic_temperature()}
WAYS = [pytest.param(False, id="eager"), pytest.param(True, id="compiled", marks=needs_compiler)]


def same(a, b):
    """The same run to the bit: states, divergence and table."""
    assert all(map(torch.equal, tree_leaves(a.final.state), tree_leaves(b.final.state)))
    assert a.final.step == b.final.step and torch.equal(a.final.diverged, b.final.diverged)
    pd.testing.assert_frame_equal(a.frame, b.frame, check_exact=True)


@pytest.mark.parametrize("compile", WAYS)
def test_other_replicas_change_a_trajectory_by_rounding_only(compile):
    many = train(runs(4, dtype=torch.float64), compile=compile).final.q
    few = train(runs([3, 1], dtype=torch.float64), compile=compile).final.q
    assert torch.allclose(few, many[[3, 1]], rtol=0, atol=1e-12)
    assert not torch.allclose(few, many[[2, 1]], rtol=0, atol=1e-3)


@pytest.mark.parametrize("compile", WAYS)
def test_a_batch_equals_its_members(compile):
    values = torch.tensor([[0.1, 0.0], [0.05, 1e-3], [0.2, 1e-2], [0.1, 1e-2]], dtype=torch.float64)
    integrator = tl.Langevin("BAOAB", step_size=values[:, 0], friction=1.0, temperature=values[:, 1])
    together = train(runs(4, dtype=torch.float64), integrator, compile=compile).final.q
    for i, (step_size, temperature) in enumerate(values.tolist()):
        one = tl.Langevin("BAOAB", step_size=step_size, friction=1.0, temperature=temperature)
        alike = train(runs([i, 9], dtype=torch.float64), one, compile=compile).final.q
        assert torch.allclose(alike[0], together[i], rtol=0, atol=1e-12)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


@pytest.mark.parametrize("compile", WAYS)
def test_later_chunks_change_nothing_to_the_bit(compile):
    full = train(runs(64), compile=compile, steps=12, observe=MOMENTS)
    more = train(runs(70), compile=compile, steps=12, observe=MOMENTS)  # a chunk of 64 and one of 6, filled up
    assert torch.equal(full.final.q, more.final.q[:64])
    shared = more.frame[more.frame["replica"] < 64].reset_index(drop=True)
    pd.testing.assert_frame_equal(full.frame, shared, check_exact=True)
    assert len(more.frame) == 70 * more.frame["step"].nunique()


@pytest.mark.parametrize("compile", WAYS)
def test_two_workers_make_the_same_run(compile):
    one, two = (train(runs(150), compile=compile, steps=12, workers=n, observe=MOMENTS) for n in (1, 2))
    same(one, two)


@pytest.mark.parametrize(
    ("integrator", "compile"),
    [
        pytest.param(BAOAB, True, id="BAOAB-compiled", marks=needs_compiler),
        pytest.param(BAOAB, False, id="BAOAB"),
        pytest.param(tl.Langevin("OBA", step_size=0.1, friction=1.0, temperature=1e-3), False, id="OBA"),
        pytest.param(tl.SGLD(step_size=0.1, temperature=1e-3), False, id="SGLD"),
        pytest.param(tl.Adam(), False, id="Adam"),
        pytest.param(
            tl.AdLaLa(step_size=0.1, temperature=(1e-4, 1e-4), friction=0.1, noise=0.01, coupling=0.05),
            False,
            id="AdLaLa",
        ),
    ],
)
def test_resuming_in_the_middle_of_an_epoch(integrator, compile):
    """Epochs have five steps: after seven, three of the second are left."""
    kwargs = {"compile": compile, "every": 1, "observe": {"size": lambda state: state.q.square().sum(1)}}
    whole = train(runs(4, dtype=torch.float64), integrator, steps=12, **kwargs)
    first = train(runs(4, dtype=torch.float64), integrator, steps=7, **kwargs)
    rest = train(runs(4, dtype=torch.float64), integrator, steps=5, start=first.final, **kwargs)
    assert (
        all(map(torch.equal, tree_leaves(whole.final.state), tree_leaves(rest.final.state))) and rest.final.step == 12
    )
    later = whole.frame[whole.frame["step"] >= 7].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest.frame, later, check_exact=True)
    # and it does matter where one is: the same state taken as a beginning goes another way
    anew = train(runs(4, dtype=torch.float64), integrator, steps=5, start=first.final.state, **kwargs)
    assert not torch.equal(anew.final.q, whole.final.q)


@needs_compiler
def test_compiled_is_eager_to_rounding():
    integrator = tl.Langevin("BAOAB", step_size=0.1, friction=1.0, temperature=1e-3)
    eager, fast = (
        train(runs(4, dtype=torch.float64), integrator, compile=way, observe=MOMENTS) for way in (False, True)
    )
    assert fast.compiled and not eager.compiled
    assert torch.allclose(eager.final.q, fast.final.q, rtol=0, atol=1e-12)
    assert np.allclose(eager.frame["kinetic"], fast.frame["kinetic"], rtol=1e-9)


def test_every_epoch_shows_each_point_once():
    """With a loss that adds up the targets seen, the momentum after an epoch tells which points were in it."""
    n, batch = 12, 4
    data = tl.datasets.Split(torch.ones(n, 1), 2.0 ** torch.arange(n))
    ensemble = tl.Ensemble(torch.nn.Linear(1, 1, bias=False), replicas=3, init=tl.init.zeros(), device="cpu")

    def seen(output, target):
        return -(output.reshape(-1) * target).sum()

    integrator = tl.SGD(step_size=1.0)
    history = tl.train(ensemble, integrator, data, loss=seen, batch_size=batch, steps=3, every=1, progress=False)
    assert history.final.q[:, 0].tolist() == [2.0**n - 1] * 3
    after_one = tl.train(ensemble, integrator, data, loss=seen, batch_size=batch, steps=1, progress=False).final.q
    sets = {int(q) for q in after_one[:, 0]}
    assert all(bin(points).count("1") == batch for points in sets) and len(sets) == 3


@pytest.mark.parametrize("words", [1, 700])
def test_how_many_epochs_are_drawn_at_once_changes_nothing(words, monkeypatch):
    whole = train(runs(3), steps=23)
    monkeypatch.setattr(chunks, "_WORDS", words)  # 300 are one epoch of three replicas
    assert torch.equal(train(runs(3), steps=23).final.q, whole.final.q)


# Divergence. The potential q^4/4 overflows in a few steps where the step size is too large.


def quartic(q):
    return q.square().square().sum(1) / 4


def start():
    return torch.linspace(1.0, 1.5, 8).reshape(4, 2)


SIZES = torch.tensor([0.1, 1.9, 0.05, 2.5])


@pytest.mark.parametrize("every", [1, 10, 60])
@pytest.mark.parametrize("compile", WAYS)
def test_a_replica_that_diverges_is_frozen_and_marked_with_its_step(every, compile):
    integrator = tl.SGD(step_size=SIZES)
    history = tl.simulate(quartic, integrator, start(), 60, every=every, compile=compile, progress=False)
    states, q = [start()], start()
    for _ in range(60):
        q = q - SIZES[:, None] * q**3
        states.append(q)
    expected = torch.full((4,), -1)
    for i in range(4):
        lost = [n for n, q in enumerate(states) if not q[i].isfinite().all()]
        if lost:
            expected[i] = lost[0]
            last = states[lost[0] - 1][i]
            assert torch.allclose(history.final.q[i], last, rtol=1e-3)
    assert expected.tolist()[0::2] == [-1, -1] and min(expected.tolist()[1::2]) > 1
    assert torch.equal(history.final.diverged, expected)
    marked = history.last.set_index("replica")["diverged"]
    assert marked.isna().tolist() == [True, False, True, False]
    assert marked[[1, 3]].tolist() == expected[[1, 3]].tolist()
    assert history.final.q.isfinite().all()


@pytest.mark.parametrize("compile", WAYS)
def test_the_others_go_on_as_if_nothing_had_happened(compile):
    calm = torch.tensor([0.1, 0.2, 0.05, 0.1])
    wild = torch.tensor([0.1, 30.0, 0.05, 40.0])
    kwargs = {"every": 10, "compile": compile, "progress": False}

    def langevin(h):
        return tl.Langevin("BAOAB", step_size=h, friction=1.0, temperature=0.01)

    noisy = tl.simulate(quartic, langevin(wild), start(), 60, **kwargs)
    quiet = tl.simulate(quartic, langevin(calm), start(), 60, **kwargs)
    assert (noisy.final.diverged >= 0).tolist() == [False, True, False, True]
    assert torch.equal(noisy.final.q[0::2], quiet.final.q[0::2]) and torch.equal(
        noisy.final.state.p[0::2], quiet.final.state.p[0::2]
    )


def test_divergence_in_training_survives_resuming_and_workers():
    sizes = torch.full((70,), 0.1)
    sizes[[5, 68]] = 1e30
    integrator = tl.Langevin("BAOAB", step_size=sizes, friction=1.0, temperature=1e-3)
    whole = train(runs(70), integrator, steps=12, every=4)
    assert (whole.final.diverged >= 0).nonzero().flatten().tolist() == [5, 68]
    same(whole, train(runs(70), integrator, steps=12, every=4, workers=2))
    first = train(runs(70), integrator, steps=8, every=4)
    rest = train(runs(70), integrator, steps=4, every=4, start=first.final)
    assert torch.equal(rest.final.q, whole.final.q) and torch.equal(rest.final.diverged, whole.final.diverged)


# The table, the bar, and simulate on a potential.


@pytest.mark.parametrize("compile", [False, pytest.param(True, marks=needs_compiler)])
def test_numbers_too_small_to_matter_become_zero_and_the_callers_stay(compile):
    momentum = tl.Momentum(0.1, 0.5)
    start = tl.dynamics.State(torch.ones(2, 1), torch.full((2, 1), 1e-36))
    flat = tl.simulate(lambda q: 0 * q.sum(1), momentum, start, 10, compile=compile)
    assert (flat.final.state.p == 0).all()
    assert torch.full((), 1e-40) * 1 != 0


def test_the_table_is_tidy():
    integrator = tl.Langevin("BAOAB", step_size=0.1, friction=torch.tensor([1.0, 10.0]), temperature=1e-3)
    observe = {"test accuracy": tl.observe.accuracy(DATA.test), "size": lambda state: state.q.square().sum(1)}
    history = train(runs([7, 3]), integrator, steps=23, every=7, observe=observe)
    frame = history.frame
    assert list(frame.columns) == [
        "step", "replica", "step_size", "friction", "temperature", "test accuracy", "size", "diverged",
    ]  # fmt: skip
    assert frame["step"].tolist() == [0, 0, 7, 7, 14, 14, 21, 21, 23, 23]
    assert frame["replica"].tolist() == [7, 3] * 5
    assert frame["friction"].tolist() == [1.0, 10.0] * 5
    assert frame["step_size"].unique().tolist() == [0.1]  # not 0.10000000149
    assert str(frame["diverged"].dtype) == "Int64" and frame["diverged"].isna().all()
    assert frame["test accuracy"].between(0, 1).all()
    assert history.last["step"].tolist() == [23, 23]
    assert np.allclose(frame["size"][:2], runs([7, 3]).q.square().sum(1))


def test_no_steps_is_a_look_at_the_beginning():
    history = train(runs(2), steps=0)
    assert history.frame["step"].tolist() == [0, 0] and torch.equal(history.final.q, runs(2).q)


def test_observations_are_seen_at_the_end_of_the_word():
    """BAOAB without friction and noise is velocity Verlet."""
    h, q, p = 0.1, torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    integrator = tl.Langevin("BAOAB", step_size=h, friction=0.0, temperature=0.0)
    seen = {"q": lambda s: s.q[:, 0], "p": lambda s: s.p[:, 0]}
    frame = tl.simulate(lambda q: q.square().sum(1) / 2, integrator, q, 5, observe=seen, progress=False).frame
    for row in frame.itertuples():
        assert row.q == pytest.approx(float(q), abs=1e-14) and row.p == pytest.approx(float(p), abs=1e-14)
        half = p - h / 2 * q
        q = q + h * half
        p = half - h / 2 * q


def test_the_bar_is_quiet_where_nobody_watches(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, shown in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
        with workers.Bar(10, 0, True) as bar:
            bar.update(10)
        assert bool(stream.getvalue()) == shown
    with workers.Bar(10, 0, False):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="runs are forked here, as on Linux")
def test_an_error_in_a_worker_says_where_it_was():
    def broken(state):
        raise LookupError("the moon is not there")

    with pytest.raises(LookupError, match="the moon is not there") as caught:
        train(runs(70), observe={"x": broken}, workers=2)
    assert "in broken" in caught.value.__notes__[0]


def test_runs_inside_a_daemon_process_do_without_workers(monkeypatch):
    monkeypatch.setattr(workers.multiprocessing.current_process(), "_config", {"daemon": True})
    same(train(runs(70), steps=3, workers=2), train(runs(70), steps=3))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_kept():
    """In a process that has kept it, tensors that come and go cost no more faults of their pages."""
    script = (
        "import resource, torch\nfrom thermolib.engine.workers import keep_memory\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(20): torch.ones(16, 1 << 20)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "before = faults(); keep_memory(); faults(); print(before, faults())"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    before, after = map(int, told.split())
    assert before > 20 * after
