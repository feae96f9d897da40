"""Compilation: where it happens, how often, and what happens where it cannot."""

import dataclasses
import logging
import math
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
import torch
from small import BAOAB, needs_compiler, runs, train
from torch._inductor.runtime import cache_dir_utils

import thermolib as tl
from thermolib.engine import compiled, loop


def langevin(step_size, friction=1.0, temperature=1e-3):
    return tl.Langevin("BAOAB", step_size=step_size, friction=friction, temperature=temperature)


def test_values_never_compile_again(uncompiled):
    train(runs(3), BAOAB, compile=True)
    train(runs(3), langevin(0.2, 5.0, 0.0), compile=True)  # other values
    train(runs(3), langevin(torch.tensor([0.1, 0.2, 0.3])), compile=True)  # one per replica
    train(runs(3, seed=77), BAOAB, compile=True)  # another seed
    train(runs([9, 4, 0]), BAOAB, compile=True)  # other replicas
    train(runs(3), BAOAB, steps=31, every=3, compile=True)  # other numbers of steps
    first = train(runs(3), BAOAB, compile=True)
    train(runs(3), BAOAB, start=first.final, compile=True)  # going on
    assert compiled.compilations() == 1


@pytest.mark.parametrize("thermostats", ["group", "tensor"])
def test_thermostats_compile_once(uncompiled, thermostats):
    for temperature in (1e-3, 2e-3):
        law = tl.AdaptiveLangevin(step_size=0.1, temperature=temperature, thermostats=thermostats)
        train(runs(3), law, compile=True)
    assert compiled.compilations() == 1


def test_other_operations_do(uncompiled):
    """The count can count."""
    train(runs(3), BAOAB, compile=True)
    train(runs(3), tl.SGD(step_size=0.1), compile=True)
    assert compiled.compilations() == 2


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
        "runs with fewer than 3000 calls of the step do not repay compiling and run eagerly"
    ]


@needs_compiler
def test_a_long_run_is_compiled(monkeypatch):
    monkeypatch.setattr(loop, "SHORT", 20)
    assert train(runs(3), steps=20, compile="auto").compiled
    assert not train(runs(3), steps=19, compile="auto").compiled


COMPILE = """
import sys
import torch
from thermolib.engine.compiled import compile_step
for threads, constant in eval(sys.argv[1]):
    torch.set_num_threads(threads)
    stiffness, q = torch.full((3,), constant), torch.ones(5, 3)
    value = compile_step(lambda q: [(stiffness * torch.tanh(q)).sum()], [q])(q)[0]
    from torch._dynamo.utils import counters
    print(float(value), counters["inductor"].pop("fxgraph_cache_hit", 0))
"""


@needs_compiler
def test_another_process_takes_what_was_compiled(tmp_path):
    """From a folder that only its owner can read and write, with nothing left where others can. Not what was compiled
    for another number of threads; and constants are its own."""
    environment = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    own = tmp_path / "cache" / "thermolib" / "compiled"
    own.mkdir(parents=True)
    (own / "headers").symlink_to(Path(compiled._keep()) / "headers")  # they take longest, and may be there already

    def run(*steps):
        command = [sys.executable, "-c", COMPILE, str(steps)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return [(float(value), int(hits)) for value, hits in map(str.split, done.stdout.splitlines())]

    value = pytest.approx(15 * math.tanh(1))
    assert run((1, 1.0)) == [(value, 0)]
    same, threads, other = run((1, 1.0), (2, 1.0), (1, 2.0))
    assert (same, threads) == ((value, 1), (value, 0)) and other[0] == pytest.approx(30 * math.tanh(1))
    assert own.stat().st_mode & 0o777 == 0o700 and any(own.rglob("*.so"))
    assert list((tmp_path / "tmp").rglob("*inductor*")) == []


def test_where_compiled_steps_are_kept(tmp_path, monkeypatch):
    def kept():
        compiled._keep()
        return Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])

    monkeypatch.setattr(compiled.pooch, "os_cache", lambda project: tmp_path / project)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "mine"))
    assert kept() == tmp_path / "mine" and not kept().exists(), "the user's own is not touched"
    own = tmp_path / "thermolib" / "compiled"
    own.mkdir(parents=True)
    own.chmod(0o777)
    for torchs in (False, True):  # and its own folder is named there once torch has compiled something else
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
        if torchs:
            monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", cache_dir_utils.default_cache_dir())
        assert kept() == own and own.stat().st_mode & 0o777 == 0o700
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setattr(compiled.pooch, "os_cache", lambda project: "/dev/null")  # where no folder can be made
    private = kept()
    assert private.stat().st_mode & 0o777 == 0o700 and private.parent == Path(tempfile.gettempdir())
    assert private != Path(cache_dir_utils.default_cache_dir())
    private.rmdir()


def test_a_run_goes_on_as_it_began(uncompiled, monkeypatch):
    """Eager and compiled steps agree to rounding: what is continued is the whole run, whatever its legs' lengths."""
    monkeypatch.setattr(loop, "SHORT", 20)
    first = train(runs(3), steps=15, compile="auto")
    second = train(runs(3), steps=25, compile="auto", start=first.final)
    assert not first.compiled and not second.compiled
    assert torch.equal(second.final.q, train(runs(3), steps=40, compile=False).final.q)
    long = train(runs(3), steps=20, compile="auto")
    assert long.compiled and train(runs(3), steps=1, compile="auto", start=long.final).compiled
    assert train(runs(3), steps=25, compile=True, start=first.final).compiled, "unless it is told otherwise"
    anew = dataclasses.replace(first.final, mode=None)
    assert train(runs(3), steps=25, compile="auto", start=anew).compiled
