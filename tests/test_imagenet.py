"""The training script for ImageNet: its schedule, its images, and runs that are killed and go on to the bit."""

import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from PIL import Image

from book.tools.chapters import ROOT  # as a side effect, torchvision can be imported
from companion.recipes import imagenet, train_imagenet
from companion.recipes.train_imagenet import Settings
from tests.processes import free_port

SMALL = {"steps": 5, "batch": 4, "micro": 3, "pixels": 32}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of drawn images: 3 each to train on, 2 to test on."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for part, n in (("train", 3), ("val", 2)):
        for label in ("bright", "dark"):
            (root / part / label).mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 128, (40, 48, 3), np.uint8) + (128 if label == "bright" else 0)
                Image.fromarray(pixels.astype(np.uint8)).save(root / part / label / f"{i}.png")
    return root


def test_rmsprop_has_the_rates_of_the_paper():
    s = Settings("rmsprop")
    assert train_imagenet.warm(s) == 3127
    epoch = train_imagenet.IMAGES / 2048
    assert train_imagenet.rate(s, 0) == 0
    assert train_imagenet.rate(s, 1000) == pytest.approx(0.128 * 1000 / 3127)
    assert train_imagenet.rate(s, 3127) == pytest.approx(0.128 * 0.97**2)  # two falls were due during the warm-up
    step = math.ceil(240 * epoch)
    assert train_imagenet.rate(s, step) == pytest.approx(0.128 * 0.97**100)
    assert train_imagenet.rate(s, step - 1) == pytest.approx(0.128 * 0.97**99)


def test_coolmomentum_has_the_step_sizes_of_the_paper():
    """Warm-up with rho = 0 and half the base rate; then the schedule, which has run on meanwhile."""
    s = Settings()
    seen = train_imagenet.applied(s, [0, 3126, 3127, 109_474, 218_947]).set_index("step")
    assert seen.loc[[0, 3126], "rate"].tolist() == [0.3, 0.3] and not seen.loc[[0, 3126], "momentum"].any()
    rho = 1 - 0.01 ** (1 - 3127 / 218_948)
    assert seen.loc[3127, "momentum"] == pytest.approx(rho) and 0.989 < rho < 0.99
    assert seen.loc[3127, "rate"] == pytest.approx(0.3 * (1 + rho))
    assert seen.loc[3127, "step size"] == pytest.approx(0.3 * (1 + rho) / (1 - rho))
    assert seen.loc[109_474, "momentum"] == pytest.approx(0.9)
    assert seen.loc[218_947, "momentum"] == pytest.approx(0, abs=1e-4)


def test_every_process_has_its_share_of_every_step_and_every_epoch_every_image():
    s = Settings(steps=12, batch=6, micro=2)
    whole = list(imagenet.Order(s, 9, 0, 0, 1))
    assert len(whole) == len(imagenet.Order(s, 9, 0, 0, 1)) == 36
    flat = [pair for batch in whole for pair in batch]
    assert [place for place, _ in flat] == list(range(72))
    for epoch in range(8):
        assert sorted(image for _, image in flat[9 * epoch : 9 * epoch + 9]) == list(range(9))
    assert [image for _, image in flat[:9]] != [image for _, image in flat[9:18]]
    halves = [list(imagenet.Order(s, 9, 0, r, 2)) for r in (0, 1)]  # 3 images each: micro-batches of 2 and 1
    assert [len(batch) for batch in halves[0][:4]] == [2, 1, 2, 1]
    assert sorted(pair for half in halves for batch in half for pair in batch) == flat
    assert list(imagenet.Order(s, 9, 5, 0, 1)) == whole[15:]


def test_the_network_and_what_decays():
    run = train_imagenet.Run(Settings(), 100, 1000, torch.device("cpu"))
    norms = [m for m in run.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all((m.eps, m.momentum) == (1e-3, 0.01) for m in norms)
    total = sum(p.numel() for p in run.network.parameters())
    assert total == 5_288_548
    assert sum(p.numel() for p in run.decayed) == total - sum(2 * m.num_features for m in norms)


def test_images_are_a_function_of_their_place(folder):
    """Whoever reads them: this process or two others; and not the same twice."""
    s = Settings(**(SMALL | {"pixels": 16}))
    here, there = (list(imagenet.loaders(s, folder, 1, workers, 0, 1)[0]) for workers in (0, 2))
    assert len(here) == len(there) == 8
    for (x, y), (x2, y2) in zip(here, there, strict=True):
        assert torch.equal(x, x2) and torch.equal(y, y2)
    images = torch.cat([x for x, _ in here])
    assert len({image.numpy().tobytes() for image in images}) == len(images) == 16


@pytest.mark.parametrize("preset", ["rmsprop", "coolmomentum"])
def test_a_run_in_pieces_is_the_same_run(folder, tmp_path, preset):
    s = Settings(preset, **SMALL)
    assert train_imagenet.warm(s, 6) == 7
    s = Settings(preset, **(SMALL | {"batch": 12, "micro": 7}))
    assert train_imagenet.warm(s, 6) == 2
    how = {"device": "cpu", "look_every": 2}
    whole = train_imagenet.train(s, folder, tmp_path / "whole", **how)
    train_imagenet.train(s, folder, tmp_path / "parts", until=3, **how)
    parts = train_imagenet.train(s, folder, tmp_path / "parts", **how)
    assert whole["step"].tolist() == [2, 4, 5] and parts["step"].tolist() == [2, 3, 4, 5]
    assert whole["rho"].iloc[-1] == pytest.approx(0.9 if preset == "rmsprop" else 1 - 0.01**0.2)
    columns = ["step", "lr", "rho", "top-1", "top-5"]
    same = parts[parts["step"] != 3][columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(whole[columns], same, check_exact=True)
    assert whole["loss"].iloc[0] == parts["loss"].iloc[0]
    same_states(tmp_path / "whole", tmp_path / "parts")
    with pytest.raises(ValueError, match="belongs to another run"):
        train_imagenet.train(Settings(preset, seed=1, **SMALL), folder, tmp_path / "parts", **how)


def same_states(*folders):
    """Network, moving average and optimizer, number by number; and they are not those of the beginning."""
    one, two = (torch.load(f / "checkpoint.pt", weights_only=True)["chunks"][0]["run"] for f in folders)
    for part in ("network", "average"):
        assert one[part].keys() == two[part].keys()
        assert [name for name in one[part] if not torch.equal(one[part][name], two[part][name])] == []
    assert not torch.equal(one["network"]["classifier.weight"], one["average"]["classifier.weight"])
    states = [state["optimizer"]["state"] for state in (one, two)]
    assert states[0].keys() == states[1].keys() and states[0]
    for number, state in states[0].items():
        assert all(torch.equal(value, states[1][number][name]) for name, value in state.items())


def test_what_cannot_be_is_said_in_one_sentence(folder, tmp_path):
    with pytest.raises(SystemExit, match="val is missing"):
        (tmp_path / "train").mkdir()
        train_imagenet.main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--device", "cpu"])
    with pytest.raises(ValueError, match="preset='adam' is not allowed"):
        Settings("adam")
    with pytest.raises(ValueError, match="steps=0 is not allowed"):
        Settings(steps=0)


def arguments(data, out):
    given = ["--data", str(data), "--out", str(out), "--device=cpu", "--workers=0", "--steps=8", "--batch=16"]
    return [*given, "--micro=5", "--pixels=32", "--save-every=2", "--look-every=6"]


def in_two_processes(data, out):
    """What the launcher does, without a second start of Python and all that it imports."""
    port = free_port()

    def rank(number):
        here = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in here.items()})
        torch.set_num_threads(1)
        train_imagenet.main(arguments(data, out))

    both = [multiprocessing.get_context("fork").Process(target=rank, args=(number,)) for number in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join(300)
    assert [process.exitcode for process in both] == [0, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="runs are forked here, as on Linux")
def test_two_processes_that_are_killed_go_on_to_the_bit(folder, tmp_path):
    """DistributedDataParallel over gloo, SIGKILL to everything in the middle of a step, and the same command again."""
    in_two_processes(folder, tmp_path / "whole")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0"]
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "-m", "companion.recipes.train_imagenet"]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command += arguments(folder, tmp_path / "parts")
    killed = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **output)
    file, until = tmp_path / "parts" / "checkpoint.pt", time.monotonic() + 300
    while not (file.exists() and torch.load(file, weights_only=True)["chunks"][0]["run"]["made"] >= 4):
        assert killed.poll() is None and time.monotonic() < until, killed.communicate()[0]
        time.sleep(0.05)
    for process in [*psutil.Process(killed.pid).children(recursive=True), killed]:
        os.kill(process.pid, signal.SIGKILL)
    killed.wait()
    made = torch.load(file, weights_only=True)["chunks"][0]["run"]["made"]
    assert 4 <= made < 8
    in_two_processes(folder, tmp_path / "parts")
    same_states(tmp_path / "whole", tmp_path / "parts")
    rows = [pd.read_csv(tmp_path / which / "history.csv") for which in ("whole", "parts")]
    pd.testing.assert_frame_equal(*(r.drop(columns="images per second") for r in rows), check_exact=True)
    assert rows[0]["step"].tolist() == [6, 8] and rows[0]["rho"].iloc[-1] > 0
    record = json.loads((tmp_path / "parts" / "provenance.json").read_text())
    assert (record["processes"], record["images"], record["classes"]) == (2, 6, 2)
