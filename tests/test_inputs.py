"""Bad input is refused in one sentence: the argument, its value, and what is allowed."""

import re

import numpy as np
import pytest
import torch
from small import DATA, runs, train

import thermolib as tl

NAN = float("nan")


def langevin(**kwargs):
    return lambda: tl.Langevin(**({"word": "BAOAB"} | kwargs))


def data(**changes):
    part = DATA.train
    x, y = part.x.clone(), part.y.clone()
    for name, value in changes.items():
        {"x": x, "y": y}[name][3] = value
    return tl.datasets.Split(x, y)


def in_train(**kwargs):
    return lambda: train(runs(3), **kwargs)


def in_simulate(start, steps=3, integrator=None, potential=lambda q: q.square().sum(1), **kwargs):
    return lambda: tl.simulate(potential, integrator or tl.SGD(0.1), start, steps, progress=False, **kwargs)


REFUSED = {
    "unknown letter": (langevin(word="BAXAB"), "word='BAXAB' has the unknown letter 'X': allowed are A, B, O"),
    "no A": (langevin(word="BOB"), "word='BOB' has no A: a word needs both A (drift) and B (kick)"),
    "no B": (langevin(word="AOA"), "word='AOA' has no B: a word needs both A (drift) and B (kick)"),
    "step size zero": (langevin(step_size=0.0), "step_size=0.0 is not allowed: it must be finite and above 0"),
    "step size negative": (langevin(step_size=-1), "step_size=-1 is not allowed: it must be finite and above 0"),
    "step size infinite": (langevin(step_size=np.inf), "step_size=inf is not allowed: it must be finite and above 0"),
    "negative friction": (langevin(friction=-1.0), "friction=-1.0 is not allowed: it must be at least 0 or infinite"),
    "NaN friction": (langevin(friction=NAN), "friction=nan is not allowed: it must be at least 0 or infinite"),
    "negative temperature": (
        langevin(temperature=torch.tensor([0.1] * 9 + [-0.5])),
        "temperature=-0.5 is not allowed: it must be at least 0 and finite",
    ),
    "NaN temperature": (langevin(temperature=NAN), "temperature=nan is not allowed: it must be at least 0 and finite"),
    "SGD step size": (lambda: tl.SGD(0.0), "step_size=0.0 is not allowed: it must be finite and above 0"),
    "SGLD temperature": (
        lambda: tl.SGLD(0.1, -1.0),
        "temperature=-1.0 is not allowed: it must be at least 0 and finite",
    ),
    "SGD clip": (lambda: tl.SGD(0.1, clip=0.0), "clip=0.0 is not allowed: it must be finite and above 0"),
    "Adam clip": (lambda: tl.Adam(clip=-1.0), "clip=-1.0 is not allowed: it must be finite and above 0"),
    "Adam beta": (lambda: tl.Adam(beta1=1.0), "beta1=1.0 is not allowed: it must be at least 0 and below 1 and finite"),
    "a string": (langevin(step_size="0.1"), "step_size='0.1' is not allowed: it must be a number or one value per"),
    "nothing": (langevin(friction=None), "friction=None is not allowed: it must be a number or one value per replica"),
    "values for other replicas": (
        lambda: train(runs(3), tl.SGD(torch.tensor([0.1, 0.2]))),
        "step_size has 2 values for 3 replicas: allowed are 1 or 3",
    ),
    "columns for other replicas": (
        lambda: train(runs(3), tl.SGD(torch.tensor([[0.1], [0.2]]))),
        "step_size has 2 values for 3 replicas: allowed are 1 or 3",
    ),
    "a batch too large": (in_train(batch_size=101), "batch_size=101 is larger than the data: it must be at most 100"),
    "a batch of none": (in_train(batch_size=0), "batch_size=0 is not allowed: it must be at least 1"),
    "NaN in the inputs": (in_train(data=data(x=NAN)), "data has 1 inputs that are NaN or infinite: all must be finite"),
    "infinite target": (in_train(data=data(y=np.inf)), "data has 1 targets that are NaN or infinite: all must be"),
    "inputs without targets": (
        in_train(data=tl.datasets.Split(torch.ones(3, 2), torch.ones(2))),
        "data has 3 inputs and 2 targets: as many of each, at least one",
    ),
    "data of another kind": (in_train(data=[1, 2]), "data=list is not allowed: it must be a Split of inputs and"),
    "steps negative": (in_train(steps=-1), "steps=-1 is not allowed: it must be at least 0"),
    "steps not whole": (in_train(steps=2.5), "steps=2.5 is not allowed: it must be a whole number of at least 0"),
    "steps in words": (in_train(steps="ten"), "steps='ten' is not allowed: it must be a whole number of at least 0"),
    "every zero": (in_train(every=0), "every=0 is not allowed: it must be at least 1"),
    "no workers": (in_train(workers=0), "workers=0 is not allowed: it must be at least 1"),
    "compile": (in_train(compile="yes"), "compile='yes' is not allowed: it must be True, False, 'auto'"),
    "no time between checkpoints": (
        in_train(checkpoint="checkpoint", checkpoint_seconds=NAN),
        "checkpoint_seconds=nan is not allowed: it must be at least 0 and finite",
    ),
    "no folder": (
        in_train(checkpoint="/nowhere/run"),
        "checkpoint=/nowhere/run is not allowed: the folder /nowhere does not exist",
    ),
    "observation of wrong shape": (
        in_train(observe={"q": lambda state: state.q}),
        "observe['q'] returned the shape (3, 33): it must return one number per replica, (3,)",
    ),
    "one observation for all": (
        in_train(observe={"q": lambda state: state.q.mean()}),
        "observe['q'] returned the shape (): it must return one number per replica, (3,)",
    ),
    "loss not one number": (
        in_train(loss=lambda output, target: (output[:, 0] - target) ** 2),
        "loss returned the shape (20,): it must return one number",
    ),
    "start with other replicas": (in_train(start=runs(2).q), "start has 2 replicas: it must have 3"),
    "start of another network": (in_train(start=runs(3, hidden=4).q), "start has 17 parameters: it must have 33"),
    "start of another integrator": (
        lambda: train(runs(3), start=train(runs(3), tl.SGD(0.1)).final),
        "start is a Positions: it must be a state of Langevin",
    ),
    "start of another kind": (
        in_simulate("here"),
        "start='here' is not allowed: it must be positions [R, P], a state of SGD, or the final of an earlier run",
    ),
    "start of one dimension": (
        in_simulate(torch.ones(3)),
        "start has shape (3,) and type torch.float32: it must be floating-point [R, P]",
    ),
    "start of whole numbers": (
        in_simulate(torch.ones(3, 2, dtype=torch.int64)),
        "start has shape (3, 2) and type torch.int64: it must be floating-point [R, P]",
    ),
    "start not finite": (
        in_simulate(torch.tensor([[1.0], [NAN]])),
        "start has positions that are NaN or infinite: all must be finite numbers",
    ),
    "seed in simulate": (in_simulate(torch.ones(2, 1), seed=-1), "seed=-1 is not allowed: it must be at least 0"),
    "gradient noise": (
        in_simulate(torch.ones(2, 1), gradient_noise=-1.0),
        "gradient_noise=-1.0 is not allowed: it must be at least 0 and finite",
    ),
    "gradient noise for other replicas": (
        in_simulate(torch.ones(3, 1), gradient_noise=torch.ones(2)),
        "gradient_noise has 2 values for 3 replicas: allowed are 1 or 3",
    ),
    "no replicas": (lambda: runs([]), "replicas=[] is not allowed: there must be at least one"),
    "zero replicas": (lambda: runs(0), "replicas=0 is not allowed: it must be at least 1"),
    "half a replica": (lambda: runs(1.5), "replicas=1.5 is not allowed: it must be a whole number of at least 1"),
    "negative replica": (lambda: runs([0, -1]), "replicas has a number outside 0 to 2**32 - 1"),
    "seed too large": (lambda: runs(1, seed=2**32), "seed=4294967296 is not allowed: it must be below 2**32"),
    "seed not whole": (lambda: runs(1, seed=0.5), "seed=0.5 is not allowed: it must be a whole number of at least 0"),
    "no parameters": (
        lambda: tl.Ensemble(torch.nn.ReLU(), device="cpu"),
        "module=ReLU is not allowed: it has no parameters",
    ),
    "device not there": (
        lambda: tl.Ensemble(tl.models.shlp(2, 8), device="cuda:77"),
        "device='cuda:77' is not there: this machine has cpu",
    ),
    "device of no kind": (
        lambda: tl.Ensemble(tl.models.shlp(2, 8), device="toaster"),
        "device='toaster' is not there: this machine has cpu",
    ),
    "odd number of points": (
        lambda: tl.datasets.spirals(train=7),
        "train=7 is not allowed: it must be even, half of the points for each class",
    ),
    "negative noise": (lambda: tl.datasets.spirals(noise=-0.1), "noise=-0.1 is not allowed: it must be at least 0"),
    "hidden nodes": (lambda: tl.models.shlp(2, 0), "hidden=0 is not allowed: it must be at least 1"),
    "spread": (lambda: tl.init.normal(-1.0), "spread=-1.0 is not allowed: it must be at least 0 and finite"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_sentence(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, sentence = REFUSED[case]
    with pytest.raises(ValueError, match="^" + re.escape(sentence)) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_is_allowed_is_not_refused():
    tl.Langevin("BAOAB", step_size=0.1, friction=float("inf"), temperature=0)
    tl.Langevin("OABO", step_size=np.float64(0.1), friction=0, temperature=torch.tensor(1e-3))
    train(runs(np.int64(3)), tl.SGD(torch.tensor([0.1, 0.2, 0.3])), steps=1, batch_size=100)
    train(runs(torch.tensor([4, 2, 0])), tl.SGD(0.1), steps=1, batch_size=None)
