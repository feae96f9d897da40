"""ResNet-20 and its training: the network and its data as Keras makes them, and runs that resume to the bit."""

import hashlib
import io
import json
import math
import tarfile

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F

import thermolib as tl
from companion.recipes import train_cifar10
from companion.recipes.cifar10 import Images, Minibatches, Network
from companion.recipes.train_cifar10 import Run, Settings
from thermolib.data import Data, Split, registry

Z = 5.0
# width 8: with fewer channels the convolutions of oneDNN write past their ends on processors without AVX-512
TINY = {"images": 70, "tests": 20, "width": 8, "pixels": 8, "batch": 16, "epochs": 4}


def random_images(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Split(x, torch.randint(0, 10, (n,), generator=generator))


@pytest.fixture(scope="module")
def data():
    return Data(random_images(80), random_images(20, seed=1))


def test_cifar10_is_what_it_is():
    try:
        data = tl.datasets.cifar10()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    known = {
        "train": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
        "test": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
    }
    for digest, part, n in zip(known.values(), data, (50_000, 10_000), strict=True):
        assert part.x.shape == (n, 3, 32, 32) and part.x.dtype == torch.uint8
        assert hashlib.sha256(part.x.permute(0, 2, 3, 1).contiguous().numpy().tobytes()).hexdigest() == digest
        assert torch.bincount(part.y).tolist() == [n // 10] * 10
    assert data.train.y[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert data.test.y[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]


def test_the_archive_is_read_as_its_format_says(tmp_path, monkeypatch):
    """Six files of records: a label, then the red, green and blue plane."""
    rng = np.random.default_rng(0)
    files = {f"data_batch_{i}.bin": rng.integers(0, 256, (3, 3073), np.uint8) for i in (1, 2, 3, 4, 5)}
    files["test_batch.bin"] = rng.integers(0, 256, (2, 3073), np.uint8)
    archive = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as packed:
        for name, records in files.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = records.nbytes
            packed.addfile(entry, io.BytesIO(records.tobytes()))
    monkeypatch.setenv("THERMOLIB_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz is not the published file"):
        tl.datasets.cifar10()
    known = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(registry.CIFAR10.sha256, archive.name, known)
    train, test = tl.datasets.cifar10()
    records = np.concatenate([files[f"data_batch_{i}.bin"] for i in (1, 2, 3, 4, 5)])
    assert train.y.tolist() == records[:, 0].tolist() and test.y.tolist() == files["test_batch.bin"][:, 0].tolist()
    assert train.x.shape == (15, 3, 32, 32) and train.x.dtype == torch.uint8
    assert train.x[4, 1, 2, 5] == records[4, 1 + 1024 + 2 * 32 + 5]


def test_sprites_that_are_incomplete_or_wrong_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("THERMOLIB_DATA", str(tmp_path))
    content = b"a sprite"
    known = {"train_00.webp": hashlib.sha256(content).hexdigest(), "labels.npz": "0" * 64}
    sprites = registry.Published("Sprites", "cifar10", (), known)
    assert registry.own(sprites) == {}
    file = tmp_path / "cifar10" / "train_00.webp"
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(FileNotFoundError, match=r"lacks labels\.npz; put it there, or remove train_00\.webp"):
        registry.own(sprites)
    file.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"train_00\.webp is not the published file: its 7 bytes"):
        registry.own(sprites)


def test_resnet20_has_the_numbers_of_the_papers_network():
    network = tl.models.resnet20()
    assert sum(p.numel() for p in network.parameters()) == 273_066
    assert sum(b.numel() for b in network.buffers() if b.is_floating_point()) == 1376
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            assert layer.bias is not None and not layer.bias.any(), name
        if isinstance(layer, torch.nn.BatchNorm2d):
            assert (layer.eps, layer.momentum) == (1e-3, 0.01)
    with pytest.raises(ValueError, match="width=0"):
        tl.models.resnet20(width=0)


def test_resnet20_starts_from_hes_cut_normal_distribution():
    torch.manual_seed(1)
    for layer in tl.models.resnet20(width=32).modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.weight.numel() > 5000:
            w = layer.weight.detach().double()
            variance = 2 / w[0].numel()
            assert w.abs().max() <= 2 * math.sqrt(variance) / 0.87962566
            square = w.square().flatten()
            assert abs(square.mean() - variance) < Z * square.std() / math.sqrt(len(square))
            uncut = variance / 0.87962566**2  # without the correction for the cut, or with it twice, it is another
            assert abs(square.mean() - uncut) > Z * square.std() / math.sqrt(len(square))


def test_strided_convolutions_are_padded_at_the_right_and_the_bottom():
    block = tl.models.resnet20(width=1).stages[1][0]
    torch.nn.init.ones_(block.first.weight)
    seen = []
    block.first.register_forward_hook(lambda layer, given, output: seen.append(output))
    x = torch.rand(1, 1, 32, 32)
    block(x)
    assert seen[0].shape[-2:] == (16, 16)
    torch.testing.assert_close(seen[0][0, 0, 0, 0], x[0, 0, :3, :3].sum())
    torch.testing.assert_close(seen[0][0, 0, -1, -1], x[0, 0, -2:, -2:].sum())


def test_one_vector_is_the_same_network():
    torch.manual_seed(2)
    plain = tl.models.resnet20(width=3).double()
    twin = tl.models.resnet20(width=3).double()
    twin.load_state_dict(plain.state_dict())
    flat = Network(twin)
    x, y = torch.randn(8, 3, 16, 16, dtype=torch.float64), torch.arange(8)
    for _ in range(3):
        loss = F.cross_entropy(plain(x), y)
        plain.zero_grad()
        loss.backward()
        flat.vector.grad.zero_()
        F.cross_entropy(flat(x), y).backward()
    for mine, its in zip(twin.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad)
        assert mine.data_ptr() in range(flat.vector.data_ptr(), flat.vector.data_ptr() + 8 * flat.vector.numel())
    flat.vector.data.mul_(0.5)
    torch.testing.assert_close(twin.output.weight, 0.5 * plain.output.weight)
    stored = sum(b.sum() for name, b in plain.named_buffers() if "running" in name)
    torch.testing.assert_close(flat.statistics.sum(), stored)
    kernels = sum(m.weight.square().sum() for m in plain.modules() if isinstance(m, torch.nn.Conv2d))
    torch.testing.assert_close(flat.squares(), 0.25 * kernels.detach())
    assert [p.numel() for p in flat.parameters()] == [sum(p.numel() for p in plain.parameters())]


def test_shifts_and_mirror_images_are_those_of_scipy(data):
    """Keras moves images by scipy.ndimage, bilinear, edges repeated."""
    images = Images(data.train, device=torch.device("cpu"))
    shift = torch.tensor([[0.1, -0.07], [-3 / 32, 0.0], [0.0, 0.03], [0.02, 0.09]])
    mirrored = torch.tensor([False, False, True, True])
    rows = torch.tensor([5, 0, 3, 3])
    seen = images.altered(rows, shift, mirrored)
    for i in range(4):
        x = images.x[rows[i]].numpy()
        if mirrored[i]:  # what is looked up at x + shift after mirroring is looked up at -x + shift
            x = x[:, :, ::-1]
        across, down = (32 * shift[i]).tolist()
        moved = (0, -down, across if mirrored[i] else -across)
        expected = scipy.ndimage.shift(x, moved, order=1, mode="nearest")
        np.testing.assert_allclose(seen[i].numpy(), expected, atol=2e-5)


def test_images_are_centred_by_the_mean_of_those_to_train_on(data):
    train = Images(data.train, device=torch.device("cpu"))
    assert train.x.mean(0).abs().max() < 1e-6 and train.x.std() > 0.2
    test = Images(data.test, train.mean, device=torch.device("cpu"))
    torch.testing.assert_close(test.x + train.mean, data.test.x / 255)
    small = Images(data.train, pixels=16, device=torch.device("cpu"))
    torch.testing.assert_close(
        small.x[3, 1, 0, 0] + small.mean[1, 0, 0], data.train.x[3, 1, :2, :2].float().mean() / 255
    )


def test_an_epoch_sees_every_image_once_and_moves_it_evenly(data):
    epoch = Minibatches(Images(data.train, device=torch.device("cpu")), 16, 1)
    epoch.plan(0)
    assert sorted(epoch.order.tolist()) == list(range(80))
    first = epoch.order.clone(), epoch.shift.clone()
    epoch.plan(1)
    assert not torch.equal(epoch.order, first[0]) and not torch.equal(epoch.shift, first[1])
    epoch.plan(0)
    assert torch.equal(epoch.order, first[0]) and torch.equal(epoch.shift, first[1])
    assert 0.08 < epoch.shift.abs().max() <= 0.1
    assert abs(epoch.shift.mean()) < Z * 0.1 / math.sqrt(3 * epoch.shift.numel())
    assert abs(epoch.mirrored.double().mean() - 0.5) < Z * 0.5 / math.sqrt(80)


def test_rates_fall_when_the_paper_lets_them():
    for optimizer, start in (("adam", 1e-3), ("momentum", 1e-2)):
        s = Settings(optimizer)
        shares = {0: 1, 80: 1, 81: 0.1, 121: 0.01, 161: 0.001, 180: 0.001, 181: 0.0005, 199: 0.0005}
        assert {e: s.rate(e) / start for e in shares} == pytest.approx(shares)
    assert Settings().rate(199) == 0.01 and Settings().steps == 1562


def test_the_loss_that_is_minimised_holds_the_penalty(data):
    run = Run(Settings("momentum", **TINY), data, "cpu")
    run.begin(0)
    run._gradient()
    vector = run.network.vector
    found = vector.grad.clone()
    vector.grad.zero_()
    first = run.minibatches
    rows, shift, mirrored = first.order[:16], first.shift[:16], first.mirrored[:16]
    loss = F.cross_entropy(run.network(run.images.altered(rows, shift, mirrored)), run.images.y[rows])
    loss.backward()
    expected = vector.grad.clone()
    expected[: run.network.kernels] += 2e-4 * vector.detach()[: run.network.kernels]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(float(run._running), float(loss.detach() + 1e-4 * run.network.squares()))


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "coolmomentum"])
def test_a_run_resumes_to_the_bit(tmp_path, data, optimizer):
    settings = Settings(optimizer, **TINY)
    whole = train_cifar10.train(settings, data, device="cpu")
    train_cifar10.train(settings, data, tmp_path, until=2, device="cpu")
    parts = train_cifar10.train(settings, data, tmp_path, device="cpu")
    pd.testing.assert_frame_equal(whole.drop(columns="seconds"), parts.drop(columns="seconds"), check_exact=True)
    written = pd.read_csv(tmp_path / "history.csv")
    assert written.columns.tolist() == whole.columns.tolist() and written["epoch"].tolist() == [0, 1, 2, 3]
    record = json.loads((tmp_path / "provenance.json").read_text())
    assert record["optimizer"] == optimizer and record["epochs made"] == 4 and record["commit"]
    if optimizer == "coolmomentum":
        assert whole["rho"].iloc[-1] == 0 and whole["rho"].iloc[0] == pytest.approx(1 - 0.01**0.75)
    with pytest.raises(ValueError, match="belongs to another run"):
        train_cifar10.train(Settings(optimizer, **TINY, seed=3), data, tmp_path, device="cpu")


def test_the_logged_temperatures_are_those_of_the_displacements(data):
    """By hand, for the first epoch: of the parameters, of all numbers, and with the first difference from zero."""
    settings = Settings("momentum", **TINY)
    row = train_cifar10.train(settings, data, until=1, device="cpu").iloc[0]
    run = Run(settings, data, "cpu")
    run.begin(0)
    seen = [run._numbers()]
    for _ in range(settings.steps):
        run._gradient()
        run.optimizer.step()
        seen.append(run._numbers())
    seen = torch.stack(seen).double()
    n = run.network.vector.numel()
    moves = seen.diff(dim=0).square()
    assert row["temperature"] == pytest.approx(moves[:, :n].mean().item(), rel=1e-5)
    assert row["temperature with statistics"] == pytest.approx(moves.mean().item(), rel=1e-5)
    moves[0] = seen[1].square()
    assert row["temperature as coded"] == pytest.approx(moves.mean().item(), rel=1e-5)


def test_rows_of_an_epoch_as_far_as_it_has_come(data):
    """The last is that of the epoch; a look on the way, at some of the images or at all, changes nothing."""
    settings = Settings("coolmomentum", **TINY)
    whole = train_cifar10.train(settings, data, until=1, device="cpu").drop(columns="seconds").iloc[0]
    for glance in (None, 20, 0):
        first, last = Run(settings, data, "cpu").epoch([1, settings.steps], glance)
        assert (first["step"], last["step"]) == (1, settings.steps)
        for name in ("running loss", "temperature", "temperature with statistics", "temperature as coded", "rho"):
            assert last[name] == pytest.approx(whole[name], rel=1e-6), name
        if glance is None:
            assert last["clean loss"] == whole["clean loss"] and last["test accuracy"] == whole["test accuracy"]
        elif glance:
            assert last["clean loss"] != whole["clean loss"] and (last["test accuracy"] * glance) % 1 == 0
        else:
            assert math.isnan(last["test loss"])
    run = Run(settings, data, "cpu")
    run.begin(0)
    run._gradient()
    assert first["running loss"] == pytest.approx(float(run._running))


def test_a_look_with_the_statistics_of_the_images_themselves(data):
    """It is that of a network in training, and leaves the moving statistics as they were."""
    run = Run(Settings("adam", **TINY), data, "cpu")
    list(run.epoch([1], 0))
    before = run.network.get_buffer("statistics").clone()
    own, moving = run.look(run.test, 16, own=True), run.look(run.test, 16)
    torch.testing.assert_close(run.network.get_buffer("statistics"), before, rtol=0, atol=0)
    with torch.no_grad():
        expected = F.cross_entropy(run.network(run.test.x[:16]), run.test.y[:16]) + 1e-4 * run.network.squares()
    assert own[0] == pytest.approx(float(expected), rel=1e-6) and own[0] != pytest.approx(moving[0], rel=1e-3)


def test_a_training_starts_from_the_checkpoint_of_another(tmp_path, data):
    settings = Settings("coolmomentum", **TINY)
    whole = train_cifar10.train(settings, data, device="cpu").drop(columns="seconds")
    train_cifar10.train(settings, data, tmp_path / "first", until=2, device="cpu")
    start = tmp_path / "first" / "checkpoint.pt"
    rest = train_cifar10.train(settings, data, tmp_path / "rest", start=start, until=3, device="cpu")
    pd.testing.assert_frame_equal(rest.drop(columns="seconds"), whole.head(3), check_exact=True)
    rest = train_cifar10.train(settings, data, tmp_path / "rest", start=start, device="cpu")  # goes on from its own
    pd.testing.assert_frame_equal(rest.drop(columns="seconds"), whole, check_exact=True)
    found, history, about = train_cifar10.kept(tmp_path / "rest")
    assert found == settings and len(history) == 4 and about["start"] == str(start)
    saved = torch.load(start, weights_only=True)  # as earlier ones were: the rows beside the run
    run = saved["chunks"][0].pop("run")
    rows = run.pop("rows")
    del run["made"]
    torch.save({"chunks": {0: {"run": run, "rows": rows}}}, tmp_path / "earlier.pt")
    again = train_cifar10.train(settings, data, start=tmp_path / "earlier.pt", device="cpu")
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), whole, check_exact=True)
    (tmp_path / "broken.pt").write_text("no")
    with pytest.raises(ValueError, match=r"broken.pt is damaged or no checkpoint of a training"):
        train_cifar10.train(settings, data, start=tmp_path / "broken.pt", device="cpu")


def test_a_run_that_diverges_ends_and_says_so(data, tmp_path):
    settings = Settings("coolmomentum", lr=1e30, **TINY)
    rows = train_cifar10.train(settings, data, tmp_path, device="cpu")
    assert len(rows) < 4 and not math.isfinite(rows["running loss"].iloc[-1])
    again = train_cifar10.train(settings, data, tmp_path, device="cpu")
    assert len(again) == len(rows)


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"optimizer": "sgd"}, "optimizer='sgd' is not allowed"),
        ({"pixels": 20}, "pixels=20 is not allowed"),
        ({"images": 10}, "images=10 is not allowed: it must be at least batch=32"),
        ({"lr": -1.0}, "lr=-1.0 is not allowed"),
        ({"rho0": 1.0}, "rho0=1.0 is not allowed"),
        ({"epochs": 0}, "epochs=0 is not allowed"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        Settings(**wrong)


def test_the_command_line_says_what_is_wrong_in_one_sentence(tmp_path):
    with pytest.raises(SystemExit, match=r"^pixels=20 is not allowed"):
        train_cifar10.main(["--pixels", "20", "--device", "cpu", "--out", str(tmp_path)])
