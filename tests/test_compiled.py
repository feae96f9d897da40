"""Compilation: where it happens, how often, and what happens where it cannot."""

import logging
import math
import os
import subprocess
import sys
import warnings

import pytest
import torch
from small import BAOAB, needs_compiler, runs, train

import thermolib as tl
from thermolib.engine import compiled, loop


def langevin(step_size, friction=1.0, temperature=1e-3):
    return tl.Langevin("BAOAB", step_size=step_size, friction=friction, temperature=temperature)


@needs_compiler
def test_values_never_compile_again():
    train(runs(3), BAOAB, compile=True)
    before = compiled.compilations()
    train(runs(3), langevin(0.2, 5.0, 0.0), compile=True)  # other values
    train(runs(3), langevin(torch.tensor([0.1, 0.2, 0.3])), compile=True)  # one per replica
    train(runs(3, seed=77), BAOAB, compile=True)  # another seed
    train(runs([9, 4, 0]), BAOAB, compile=True)  # other replicas
    train(runs(3), BAOAB, steps=31, every=3, compile=True)  # other numbers of steps
    first = train(runs(3), BAOAB, compile=True)
    train(runs(3), BAOAB, start=first.final, compile=True)  # going on
    assert compiled.compilations() == before


@needs_compiler
@pytest.mark.parametrize("thermostats", ["group", "tensor"])
def test_thermostats_compile_once(thermostats):
    law = tl.AdaptiveLangevin(step_size=0.1, temperature=1e-3, noise=0.01, coupling=0.1, thermostats=thermostats)
    train(runs(3), law, compile=True)
    before = compiled.compilations()
    train(runs(3), law, compile=True)
    assert compiled.compilations() == before


@needs_compiler
def test_other_operations_do():
    """The count can count."""
    train(runs(3), BAOAB, compile=True)
    before = compiled.compilations()
    train(runs(3), tl.SGD(step_size=0.1), compile=True)
    assert compiled.compilations() == before + 1


@needs_compiler
def test_a_potential_with_other_constants_is_another_potential():
    def final(stiffness):
        kwargs = {"compile": True, "progress": False}
        start = torch.ones(2, 2)
        return tl.simulate(lambda q: (stiffness * q.square()).sum(1) / 2, tl.SGD(0.1), start, 3, **kwargs).final.q

    assert torch.allclose(final(torch.tensor([1.0, 2.0])), torch.tensor([0.9, 0.8]) ** 3)
    assert torch.allclose(final(torch.tensor([3.0, 1.0])), torch.tensor([0.7, 0.9]) ** 3)


def test_without_a_compiler_the_same_numbers_and_one_warning(monkeypatch):
    expected = train(runs(3), steps=12).final.q
    monkeypatch.setattr(loop, "SHORT", 1)
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    compiled.possible.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="no C\\+\\+ compiler was found, so steps run eagerly") as told:
            histories = [train(runs(3), steps=12, compile=way) for way in ("auto", True, "auto")]
    finally:
        compiled.possible.cache_clear()
    assert len([w for w in told if w.category is RuntimeWarning]) == 1
    assert not any(history.compiled for history in histories)
    assert all(torch.equal(history.final.q, expected) for history in histories)


def test_without_pythons_headers_steps_run_eagerly(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled.shutil, "which", lambda name: name)
    monkeypatch.setattr(compiled.sysconfig, "get_path", lambda name: str(tmp_path))
    compiled.possible.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="Python.h is not there, so steps run eagerly"):
            assert not compiled.possible("cpu")
    finally:
        compiled.possible.cache_clear()


def test_a_short_run_is_eager_and_says_so_once(caplog):
    loop._tell_short.cache_clear()
    with caplog.at_level(logging.INFO, logger="thermolib"), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        histories = [train(runs(3), steps=5, compile="auto") for _ in range(2)]
    assert not any(history.compiled for history in histories)
    assert [record.message for record in caplog.records if "eagerly" in record.message] == [
        "the first 3000 calls of the step run eagerly: fewer would not repay compiling"
    ]


@needs_compiler
@pytest.mark.parametrize(("cuts", "replicas"), [([8], 3), ([20], 3), ([31], 3), ([7, 25], 3), ([15], 100)])
def test_a_run_in_several_calls_is_the_run_in_one(monkeypatch, cuts, replicas):
    """To the bit, although compiled steps round otherwise: what is compiled does not depend on where a call ends."""
    monkeypatch.setattr(loop, "SHORT", 20)
    ensemble = runs(replicas)
    whole = train(ensemble, steps=40, compile="auto")
    history, now = None, 0
    for until in (*cuts, 40):
        history = train(ensemble, steps=until - now, compile="auto", start=history and history.final)
        now = until
    assert whole.compiled and torch.equal(history.final.q, whole.final.q)
    assert torch.equal(history.final.state.p, whole.final.state.p)
    eager = train(ensemble, steps=40)
    assert not torch.equal(eager.final.q, whole.final.q), "both ways round alike here, so that nothing is tested"
    assert not train(ensemble, steps=20 // (1 + replicas // 65), compile="auto").compiled


COMPILE = """
import sys
import torch
from torch._dynamo.utils import counters
from thermolib.engine.compiled import compile_step
threads, constant = int(sys.argv[1]), float(sys.argv[2])
torch.set_num_threads(threads)
stiffness, q = torch.full((3,), constant), torch.ones(5, 3)
value = compile_step(lambda q: [(stiffness * torch.tanh(q)).sum()], [q])(q)[0]
print(float(value), counters["inductor"]["fxgraph_cache_hit"])
"""


@needs_compiler
def test_another_process_takes_what_was_compiled(tmp_path):
    """Not what was compiled for another number of threads; and constants are its own."""
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}

    def run(*arguments):
        command = [sys.executable, "-c", COMPILE, *arguments]
        value, hits = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
        return float(value), int(hits)

    value = 15 * math.tanh(1)
    assert run("1", "1") == (pytest.approx(value), 0)
    assert run("1", "1") == (pytest.approx(value), 1)
    assert run("2", "1") == (pytest.approx(value), 0)
    assert run("1", "2")[0] == pytest.approx(2 * value)
