"""What follows from the record of a dynamics: its law, what it costs, refuses and needs, its page, its optimizer."""

import importlib
import inspect
import math
import re

import pytest
import torch
from small import Counting

import thermolib as tl
from tests import records, test_optim
from tests.records import CURVATURE, RECORDS, Record

each = pytest.mark.parametrize("name", RECORDS)
with_a_law = pytest.mark.parametrize("name", [name for name, record in RECORDS.items() if record.square is not None])
RUNS = 2000


def deviation(record, law):
    """By how many standard errors the mean square of the oscillators differs from the law, in which they start."""
    start = math.sqrt(record.square) * tl.noise.key(7, RUNS).normal(tl.noise.DATA, 20)
    history = tl.simulate(
        lambda q: CURVATURE * q.square().sum(1) / 2,
        law,
        start,
        300,
        seed=3,
        gradient_noise=record.kicks,
        observe={"square": lambda state: state.q.square().mean(1)},
        every=300,
        compile=False,
        progress=False,
    )
    found = history.last["square"]
    return (found.mean() - record.square) / (found.std() / math.sqrt(RUNS))


@with_a_law
def test_its_law(name):
    """Within 4.5 standard errors, of which one law in 150,000 would be more; another argument must be seen."""
    record = RECORDS[name]
    assert abs(deviation(record, record.sampler())) < 4.5
    assert abs(deviation(record, record.sampler(**record.wrong))) > 4.5


@each
def test_what_a_step_costs(name):
    record, potential = RECORDS[name], Counting()
    law = record.counterpart(**record.arguments).bind(records.SIZES)
    state = law.enter(law.begin(law.init(torch.ones(3, 20)), Counting()), Counting(), tl.noise.key(0, 3))
    for step in range(1, 4):
        state = law.step(state, potential, tl.noise.key(0, 3, step))
    assert (potential.forces, potential.losses) == (3 * record.forces, 3 * record.losses)


@each
def test_what_it_refuses(name):
    record = RECORDS[name]
    own = inspect.signature(record.law).parameters
    for argument, value in record.refused.items():
        if argument in own:  # others are the optimizer's
            with pytest.raises(ValueError, match=argument):
                record.counterpart(**record.arguments | {argument: value})


@each
def test_a_replica_alone_is_the_replica_in_the_batch(name):
    record = RECORDS[name]
    ends = []
    for rows in ([0, 1, 2], [2]):
        law, potential = record.counterpart(**record.arguments).bind(records.SIZES), Counting()
        key = tl.noise.key(0, torch.tensor(rows))
        state = law.begin(law.init(torch.arange(60.0).reshape(3, 20)[rows] / 60), potential)
        for step in range(5):
            state = law.step(state, potential, key._replace(step=torch.tensor(step)))
        ends.append(state.q)
    assert torch.equal(ends[0][2], ends[1][0])
    assert not torch.equal(ends[0][1], ends[1][0])


@each
def test_the_stub_of_its_page_runs(name, capsys):
    text = RECORDS[name].page()
    code = re.search(r"```python\n(.*?)```", text, re.S)[1]
    exec(compile(code, name, "exec"), {"__name__": "page"})
    assert math.isfinite(float(capsys.readouterr().out))
    assert RECORDS[name].law.__doc__.partition("\n")[0] in text


TOY = '''
from dataclasses import dataclass

import torch

from thermolib.dynamics.base import Integrator, Positions, Value, nothing
from thermolib.ground import checks


@dataclass(frozen=True)
class Toy(Integrator):
    """The Leimkuhler-Matthews method."""

    step_size: Value = 0.1
    temperature: Value = 0.0

    def __post_init__(self):
        checks.above("step_size", self.step_size)
        checks.at_least("temperature", self.temperature)

    @property
    def silent(self):
        return nothing(self.temperature)

    def step(self, state, potential, key):
        self = self.columns(state.q)
        now, later = (k.normal(0, state.q.shape[1], state.q.dtype) for k in (key, key.at(later=1)))
        drawn = torch.sqrt(self.step_size * self.temperature / 2) * (now + later)
        return Positions(state.q + self.step_size * potential.force(state.q) + drawn)
'''


def test_a_method_is_one_file_and_one_record(tmp_path, monkeypatch, capsys):
    """A toy is added so, and everything that follows from a record is asked of it."""
    (tmp_path / "toy_method.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    toy = importlib.import_module("toy_method").Toy
    record = Record(
        toy,
        {"step_size": 0.1, "temperature": 1e-3},
        {"step_size": 0.0, "temperature": -1.0},
        tl.optim.of(toy),
        quiet={"temperature": 0.0},
        sampling={"step_size": 0.4, "temperature": records.HOT},
        wrong={"temperature": 1.3 * records.HOT},
        square=records.HOT / CURVATURE,  # without any error of the step size
    )
    monkeypatch.setitem(RECORDS, "Toy", record)
    monkeypatch.setitem(records.OPTIMIZERS, "Toy", record)
    test_its_law("Toy")
    test_what_a_step_costs("Toy")
    test_what_it_refuses("Toy")
    test_a_replica_alone_is_the_replica_in_the_batch("Toy")
    test_the_stub_of_its_page_runs("Toy", capsys)
    test_optim.test_without_noise_it_is_the_integrator("Toy")
    test_optim.test_with_noise_it_moves_otherwise_and_repeatably("Toy")
    test_optim.test_no_two_parameters_share_their_noise("Toy")
    test_optim.test_state_dict_round_trip("Toy", torch.float32)
    test_optim.test_the_state_dict_is_safe_to_save("Toy", tmp_path)
    test_optim.test_bfloat16_follows_single_precision("Toy")
    test_optim.test_groups_and_schedulers("Toy")
    test_optim.test_bad_input("Toy")
