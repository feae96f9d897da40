"""Checkpoints: a run that is killed and started again ends as the run that never was; other files are refused."""

import functools
import io
import multiprocessing
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from small import BAOAB, DATA, runs, train

import thermolib as tl
from thermolib.engine import loop
from thermolib.engine.checkpoint import Checkpoint, fingerprint

forks = pytest.mark.skipif(
    sys.platform != "linux", reason="runs are forked here, and their processes looked up in /proc, as on Linux"
)
MANY = 150  # three chunks, the last one filled up
STEPS = {MANY: 400, 1: 1200}


def run(folder, workers, replicas=MANY, seconds=0.0):
    """A run with a checkpoint after every few steps, and replicas that diverge on the way."""
    sizes = torch.full((replicas,), 0.1)
    sizes[[3, 140] if replicas == MANY else []] = 1e30
    integrator = tl.Langevin("BAOAB", step_size=sizes, friction=1.0, temperature=1e-3)
    observe = {"size": lambda state: state.q.square().sum(1)}
    kwargs = {"observe": observe, "every": 50, "checkpoint_seconds": seconds, "workers": workers}
    return train(runs(replicas), integrator, steps=STEPS[replicas], checkpoint=folder and folder / "run", **kwargs)


def child(folder, workers, replicas):
    """The run in a process of its own, which leaves its result behind."""
    torch.set_num_threads(1)
    try:
        history = run(folder, workers, replicas)
    except KeyboardInterrupt:
        os._exit(3)
    result = {"state": history.final.state, "diverged": history.final.diverged, "frame": history.frame}
    (folder / "result").write_bytes(pickle.dumps(result))


def begun(folder, workers, replicas):
    process = multiprocessing.get_context("fork").Process(target=child, args=(folder, workers, replicas))
    process.start()
    return process


def children(pid):
    """The processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.002)


def written(file):
    return file.stat().st_mtime_ns if file.exists() else 0


@pytest.fixture(scope="module", params=[1, MANY], ids="{} replicas".format)
def replicas(request):
    """A tensor with one row may have any stride."""
    return request.param


@pytest.fixture(scope="module")
def undisturbed(replicas):
    return run(None, 1, replicas)


def compare(folder, undisturbed):
    result = pickle.loads((folder / "result").read_bytes())
    assert all(map(torch.equal, result["state"], undisturbed.final.state))
    assert torch.equal(result["diverged"], undisturbed.final.diverged)
    pd.testing.assert_frame_equal(result["frame"], undisturbed.frame, check_exact=True)


@forks
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_again_and_again(workers, tmp_path, replicas, undisturbed):
    chance = random.Random(workers)
    file = tmp_path / "run"
    for _ in range(5):
        before = written(file)
        process = begun(tmp_path, workers, replicas)
        wait_for(lambda before=before: written(file) != before)  # it goes on from where the last one was
        time.sleep(chance.uniform(0, 0.05))
        helpers = children(process.pid)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the run ended before it was killed: make it longer"
        assert workers == 1 or replicas == 1 or len(helpers) == workers
        wait_for(lambda helpers=helpers: not any(map(alive, helpers)), 20)  # nobody works on for a dead parent
    process = begun(tmp_path, workers, replicas)
    process.join()
    assert process.exitcode == 0
    compare(tmp_path, undisturbed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result", "run"]  # no half-written file is left


def dying(folder, replicas):
    """The run, killed when half of its third checkpoint is written."""
    torch.set_num_threads(1)
    save, calls = torch.save, []

    def half(content, file):
        calls.append(None)
        if len(calls) < 3:
            return save(content, file)
        whole = io.BytesIO()
        save(content, whole)
        file.write(whole.getvalue()[: whole.tell() // 2])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    torch.save = half
    run(folder, 1, replicas)


@forks
def test_killed_while_it_writes(tmp_path, replicas, undisturbed):
    process = multiprocessing.get_context("fork").Process(target=dying, args=(tmp_path, replicas))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", f"run.{process.pid}.part"]
    torch.load(tmp_path / "run", weights_only=True)  # the one before is whole
    process = begun(tmp_path, 1, replicas)
    process.join()
    compare(tmp_path, undisturbed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result", "run"]


@forks
def test_interrupted_at_the_keyboard(tmp_path, replicas, undisturbed):
    process = begun(tmp_path, 2, replicas)
    wait_for(lambda: written(tmp_path / "run"))
    helpers = children(process.pid)
    for pid in (*helpers, process.pid):  # a terminal interrupts all of them
        os.kill(pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 3 and len(helpers) == (2 if replicas > 1 else 0)  # one replica is one chunk
    assert not any(map(alive, helpers))
    process = begun(tmp_path, 2, replicas)
    process.join()
    compare(tmp_path, undisturbed)


def test_an_interrupt_waits_until_a_checkpoint_is_written(tmp_path, monkeypatch):
    save = torch.save

    class Keyboard(io.RawIOBase):
        def __init__(self, file):
            self.file, self.pressed = file, False

        def write(self, part):
            if not self.pressed:
                self.pressed = True
                signal.raise_signal(signal.SIGINT)
            return self.file.write(part)

    monkeypatch.setattr(torch, "save", lambda content, file: save(content, Keyboard(file)))
    checkpoint = Checkpoint(tmp_path / "run", {"integrator": "BAOAB"})
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save({0: {"step": 7}})
    assert checkpoint.load() == {0: {"step": 7}}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_finished_run_is_not_made_again(tmp_path, monkeypatch, replicas, undisturbed):
    first = run(tmp_path, 1, replicas)
    monkeypatch.setattr(tl.Langevin, "step", None)
    again = run(tmp_path, 1, replicas)
    assert torch.equal(again.final.q, first.final.q) and torch.equal(first.final.q, undisturbed.final.q)
    pd.testing.assert_frame_equal(again.frame, undisturbed.frame, check_exact=True)


def outage(at):
    """An observation that fails once, when it is made for the ``at``-th time, and the list of its calls."""
    calls = []

    def observe(state):
        calls.append(None)
        if len(calls) == at:
            raise RuntimeError("the power is off")
        return state.q[:, 0]

    return observe, calls


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_run_of_simulate_resumes_too(replicas, tmp_path):
    def go(folder=None):
        observe = {"q": observed}
        kwargs = {
            "checkpoint": folder and folder / "run",
            "checkpoint_seconds": 0,
            "observe": observe,
            "progress": False,
        }
        return tl.simulate(lambda q: q.square().sum(1), BAOAB, torch.ones(replicas, 2), 200, every=100, **kwargs)

    observed, calls = outage(2)
    with pytest.raises(RuntimeError, match="the power is off"):
        go(tmp_path)
    assert (tmp_path / "run").exists()
    resumed = go(tmp_path)
    assert len(calls) == 4  # one before the failure, which is not made again
    expected = go()
    assert torch.equal(resumed.final.q, expected.final.q)
    pd.testing.assert_frame_equal(resumed.frame, expected.frame, check_exact=True)


def test_records_never_run_ahead_of_the_state(tmp_path, monkeypatch):
    """With two chunks side by side, one saves while the other has recorded since it last saved."""

    def out_of_step(messages, numbers, workers, handle):
        first, second = messages(0), messages(1)
        for kind, content in first:
            handle(0, kind, content)
            if kind == "record" and content[0] == 4:
                break
        for kind, content in second:
            handle(1, kind, content)
        raise RuntimeError("the power is off")

    kwargs = {"steps": 12, "every": 4, "checkpoint": tmp_path / "run", "checkpoint_seconds": 0.0}
    whole = train(runs(100), steps=12, every=4)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "run_all", out_of_step)
        with pytest.raises(RuntimeError, match="the power is off"):
            train(runs(100), **kwargs)
    resumed = train(runs(100), **kwargs)
    pd.testing.assert_frame_equal(resumed.frame, whole.frame, check_exact=True)


@pytest.mark.parametrize("replicas", [1, 100])
@pytest.mark.parametrize("kind", ["predictions", "samples"])
def test_samples_survive(kind, replicas, tmp_path, monkeypatch):
    """The power goes off in the middle: what is gathered in the end is what the whole run gathers."""
    ensemble, x = runs(replicas), DATA.test.x

    def collector():
        return tl.Predictions(x, after=10, every=3, keep=8) if kind == "predictions" else tl.Samples(ensemble, 10, 3, 8)

    def gathered(collect):
        found = collect if kind == "predictions" else collect.predictions(x)
        result = found.result
        assert all(tensor.isfinite().all() for tensor in result[:4])
        return [*result, found.kept, torch.tensor(len(collect))]

    whole = collector()
    train(ensemble, steps=90, collect=whole)
    observe, _ = outage(5)

    kwargs = {"steps": 90, "every": 10, "checkpoint": tmp_path / "run", "checkpoint_seconds": 0.0}
    with pytest.raises(RuntimeError, match="the power is off"):
        train(ensemble, observe={"first": observe}, collect=collector(), **kwargs)
    for _ in range(2):  # the second finds a run that is finished
        resumed = collector()
        train(ensemble, observe={"first": observe}, collect=resumed, **kwargs)
        for one, other in zip(gathered(resumed), gathered(whole), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)  # values have no entropy
    others = {
        "predictions": [
            tl.Predictions(x[1:], 10, 3, 8),
            tl.Predictions(x, 10, 3, 8, torch.sigmoid),
            tl.Samples(ensemble),
        ],
        "samples": [tl.Samples(ensemble, 10, 4, 8), tl.Samples(ensemble, 10, 3, 16), None],
    }
    for other in others[kind]:
        with pytest.raises(ValueError, match="belongs to another run"):
            train(ensemble, observe={"first": observe}, collect=other, **kwargs)


@pytest.mark.parametrize(
    ("function", "others"),
    [
        ("lambda y: y.softmax(-1)", ["lambda y: y.log_softmax(-1)", "lambda y: y.softmax(-2)"]),
        ("functools.partial(torch.softmax, dim=-1)", ["functools.partial(torch.softmax, dim=-2)"]),
        ("torch.sigmoid", ["torch.tanh", "torch.nn.Sigmoid()"]),
    ],
)
def test_functions_are_told_apart_and_known_again_in_another_process(function, others):
    names = [repr(loop._named(eval(text, {"functools": functools, "torch": torch}))) for text in (function, *others)]
    assert len(set(names)) == len(names)
    look = f"import functools, torch; from thermolib.engine import loop; print(loop._named({function}))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == names[0]


# What is not a checkpoint of this run.


def saved(folder):
    train(runs(3), checkpoint=folder / "run")
    return folder / "run"


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_a_damaged_file_is_refused(damage, tmp_path):
    file = saved(tmp_path)
    file.write_bytes(file.read_bytes()[:-100] if damage is None else damage)
    refused(tmp_path, "is damaged or no checkpoint: name another file, or delete it to begin anew")


def refused(folder, sentence, **kwargs):
    with pytest.raises(ValueError) as caught:
        train(**({"ensemble": runs(3), "checkpoint": folder / "run"} | kwargs))
    assert re.fullmatch(re.escape(f"checkpoint={folder / 'run'} ") + re.escape(sentence), str(caught.value))


@pytest.mark.parametrize(
    "change",
    [
        {"ensemble": runs(4)},
        {"ensemble": runs(3, seed=2)},
        {"steps": 24},
        {"batch_size": 10},
        {"loss": tl.losses.mse},
        {"every": 5},
        {"integrator": tl.Langevin("BAOAB", step_size=0.1, friction=1.0, temperature=2e-3)},
        {"integrator": tl.Langevin("OBABO", step_size=0.1, friction=1.0, temperature=1e-3)},
        {"integrator": tl.Adam(0.1)},
        {"data": tl.datasets.trigonometric(train=100, test=40, seed=4)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_file_of_another_run_is_refused(change, tmp_path):
    saved(tmp_path)
    sentence = "belongs to another run, of Langevin{'word': 'BAOAB'}: name another file, or delete it"
    refused(tmp_path, sentence, **change)


def test_functions_of_one_name_are_told_from_each_other(tmp_path):
    def go(potential, schedule, name):
        chain = tl.NoseHooverChain(0.01, temperature=schedule)
        return tl.simulate(potential, chain, torch.ones(3, 2), 10, checkpoint=tmp_path / name, progress=False)

    go(lambda q: q.square().sum(1), lambda n: 0.1 + 0.1 * n, "run")
    go(lambda q: q.square().sum(1), lambda n: 0.1 + 0.1 * n, "run")  # the same again, from another line
    for potential, schedule in (
        (lambda q: 2 * q.square().sum(1), lambda n: 0.1 + 0.1 * n),
        (lambda q: q.square().sum(1), lambda n: 0.1 + 0.2 * n),
    ):
        with pytest.raises(ValueError, match="belongs to another run, of NoseHooverChain"):
            go(potential, schedule, "run")


def test_the_file_of_another_version_is_refused(tmp_path):
    file = saved(tmp_path)
    content = torch.load(file, weights_only=True)
    torch.save(content | {"format": content["format"] + 1}, file)
    refused(tmp_path, "was written by another version of thermolib: name another file, or delete it")
    torch.save({"format": content["format"]}, file)
    refused(tmp_path, "is damaged or no checkpoint: name another file, or delete it to begin anew")


class Harmful:
    """Pickled, it is code that runs when it is read."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (Path.touch, (self.file,))


def test_code_in_a_file_is_not_executed(tmp_path):
    file, mark = saved(tmp_path), tmp_path / "executed"
    torch.save({"run": Harmful(mark), "integrator": "", "chunks": {}}, file)
    refused(tmp_path, "is damaged or no checkpoint: name another file, or delete it to begin anew")
    assert not mark.exists()
    torch.load(file, weights_only=False)  # the file is harmful indeed
    assert mark.exists()


def test_a_write_that_fails_keeps_the_file_before_it(tmp_path, monkeypatch):
    file = saved(tmp_path)
    before = file.read_bytes()

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="could not be written, the one before it is kept: no space left"):
        Checkpoint(file, {"integrator": "Langevin"}).save({})
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_full_disk_keeps_the_file_before_it(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk, and only where mounting is allowed")
    try:
        file = saved(tmp_path)
        before = file.read_bytes()
        (tmp_path / "filler").write_bytes(b"x" * (56 * 1024 - len(before)))
        with pytest.raises(OSError, match=f"{file} could not be written, the one before it is kept: .*No space left"):
            Checkpoint(file, {"integrator": "Langevin"}).save({0: {"leaves": torch.zeros(4096)}})
        assert file.read_bytes() == before
        assert sorted(path.name for path in tmp_path.iterdir()) == ["filler", "run"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_what_a_killed_writer_left_is_removed(tmp_path):
    (tmp_path / "run.4711.part").write_bytes(b"half")
    saved(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_fingerprints_tell_the_content_of_tensors():
    a, b = torch.zeros(10_000), torch.zeros(10_000)
    b[5000] = 1e-9  # invisible in print
    assert fingerprint({"x": a}) == fingerprint({"x": a.clone()}) != fingerprint({"x": b})
    assert fingerprint({"x": a}) != fingerprint({"x": a.reshape(100, 100)})
    row = torch.arange(3.0).reshape(3, 1).T  # contiguous, in steps of one or not
    for one in (row, row.new_zeros(5)[:1].as_strided((1,), (7,)), torch.ones(()), torch.ones(2, dtype=torch.bfloat16)):
        assert fingerprint({"x": one}) == fingerprint({"x": one.clone(memory_format=torch.contiguous_format)})
    assert fingerprint({"x": row}) == fingerprint({"x": torch.arange(3.0)[None]})


def test_one_replica_that_starts_from_its_network_is_saved(tmp_path):
    ensemble = runs(1)
    for _ in range(2):
        kept = train(ensemble, tl.Metropolis(0.002), start=ensemble.q, checkpoint=tmp_path / "run")
    assert torch.equal(kept.final.q, train(ensemble, tl.Metropolis(0.002)).final.q)
