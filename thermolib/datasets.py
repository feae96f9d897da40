"""Data: points drawn from the library's own noise, and sets that are fetched and checked."""

from __future__ import annotations

import gzip
import hashlib
import math
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from thermolib import checks, downloads, noise

__all__ = [
    "Data",
    "Split",
    "Splits",
    "auto_mpg",
    "cifar10",
    "higgs",
    "iris",
    "min_max",
    "mnist",
    "noisy_sine",
    "random_splits",
    "spirals",
    "stacked",
    "trigonometric",
]


def _key(seed: int, replicas: int) -> noise.Key:
    """For functions with an argument called noise, which hides the module."""
    return noise.key(seed, replicas)


class Split(NamedTuple):
    """Inputs ``[N, ...]`` and targets ``[N]`` or ``[N, K]``."""

    x: Tensor
    y: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Split:
        """On a device, floating-point tensors in the given type."""
        return Split(*(t.to(device, dtype if t.is_floating_point() else None) for t in self))


class Splits(NamedTuple):
    """Data of its own for each replica: inputs ``[R, N, ...]`` and targets ``[R, N]`` or ``[R, N, K]``."""

    x: Tensor
    y: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Splits:
        """On a device, floating-point tensors in the given type."""
        return Splits(*(t.to(device, dtype if t.is_floating_point() else None) for t in self))

    def of(self, rows: Tensor) -> Splits:
        """Those of some replicas."""
        rows = rows.to(self.x.device)
        return Splits(self.x[rows], self.y[rows])


class Data(NamedTuple):
    """A training and a test set."""

    train: Any
    test: Any


def _numbers(train: int, test: int, noise_level: float, seed: int) -> tuple[noise.Key, int]:
    for name, value in (("train", train), ("test", test)):
        if checks.integer(name, value, 2) % 2:
            raise ValueError(f"{name}={value} is not allowed: it must be even, half of the points for each class")
    checks.at_least("noise", noise_level)
    return noise.key(seed, 1), (train + test) // 2


def _split(first: Tensor, second: Tensor, train: int) -> Data:
    """Two classes, ``[n, 2]`` points each in float64, as training and test sets."""
    half = train // 2

    def part(rows: slice) -> Split:
        x = torch.cat([first[rows], second[rows]]).float()
        n = first[rows].shape[0]
        return Split(x, torch.cat([torch.zeros(n), torch.ones(n)]))

    return Data(part(slice(None, half)), part(slice(half, None)))


def spirals(
    turns: float = 4,
    train: int = 1000,
    test: int = 1000,
    noise: float = 0.02,
    seed: int = 0,
    radius: float = 2.0,
    power: float = 0.5,
) -> Data:
    r"""Two interleaved spiral arms in the plane.

    .. math:: x_1 = a t^p \cos(2 b t^p \pi) + c N, \qquad x_2 = a t^p \sin(2 b t^p \pi) + c N, \qquad t \sim U(0, 1)

    The second arm is the first with the argument shifted by :math:`\pi`, at the same values of t and with its own
    noise, as in the authors' code.

    ================  ============  ================================
    symbol            argument      meaning
    ================  ============  ================================
    :math:`b`         ``turns``     turns of an arm
    :math:`c`         ``noise``     standard deviation of the noise
    :math:`a`         ``radius``    outer radius
    :math:`p`         ``power``     how t is spread along an arm
    ================  ============  ================================

    ``train`` and ``test`` count points of both classes together; ``y`` is 0 or 1.

    Raises
    ------
    ValueError : a number of points that is odd or below two, a negative noise.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 4, Eq. (16).
    """
    key, n = _numbers(train, test, noise, seed)
    r = key.uniform(_DATA, n, torch.float64)[0] ** power
    jitter = noise * key.normal(_DATA + 1, 4 * n, torch.float64).reshape(4, n)
    angle = 2 * turns * math.pi * r
    arm = radius * torch.stack([r * torch.cos(angle), r * torch.sin(angle)])
    return _split((arm + jitter[:2]).T, (-arm + jitter[2:]).T, train)


def trigonometric(
    length: float = 3,
    frequency: float = 2,
    train: int = 1000,
    test: int = 1000,
    noise: float = 0.02,
    seed: int = 0,
    as_printed: bool = False,
) -> Data:
    r"""A cosine and a sine that cross each other, one class each.

    .. math:: x_1 = a t, \qquad x_2 = \cos(b \pi x_1) + c N, \qquad t \sim U(0, 1)

    and the sine for class 1. The paper prints :math:`\cos(b \pi t)`, in which ``length`` only stretches the picture;
    with that, its problem with a = 10 would be as easy as with a = 1. ``as_printed`` gives the printed version.

    ================  ==============  ================================
    symbol            argument        meaning
    ================  ==============  ================================
    :math:`a`         ``length``      length of the interval
    :math:`b`         ``frequency``   half periods per unit of length
    :math:`c`         ``noise``       standard deviation of the noise
    ================  ==============  ================================

    Raises
    ------
    ValueError : a number of points that is odd or below two, a negative noise.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 4, Eq. (17), corrected as described.
    """
    key, n = _numbers(train, test, noise, seed)
    t = key.uniform(_DATA, 2 * n, torch.float64).reshape(2, n)
    jitter = noise * key.normal(_DATA + 1, 2 * n, torch.float64).reshape(2, n)
    phase = frequency * math.pi * (t if as_printed else length * t)
    cosine = torch.stack([length * t[0], torch.cos(phase[0]) + jitter[0]], 1)
    sine = torch.stack([length * t[1], torch.sin(phase[1]) + jitter[1]], 1)
    return _split(cosine, sine, train)


_DATA = noise.DATA


def mnist() -> Data:
    """Handwritten digits: 60,000 to train on and 10,000 to test on.

    ``x`` is ``[N, 784]``, the 28 x 28 pixels row by row, from 0 (paper) to 1 (ink); ``y`` is the digit, a whole number
    ``[N]``. The four published files are looked for in the folder ``mnist`` of the folder that the environment variable
    ``THERMOLIB_DATA`` names, else fetched once; their checksums are verified either way.

    Raises
    ------
    ValueError : a file in that folder is not the published one.
    FileNotFoundError : a file is neither there nor to be fetched; the message says what to put where.

    Source: LeCun, Cortes, Burges, the MNIST database of handwritten digits.
    """
    files = downloads.fetch(downloads.MNIST)

    def part(name: str) -> Split:
        pixels = _idx(files[f"{name}-images-idx3-ubyte.gz"], header=16)
        labels = _idx(files[f"{name}-labels-idx1-ubyte.gz"], header=8)
        return Split(pixels.reshape(-1, 784).float() / 255, labels.long())

    return Data(part("train"), part("t10k"))


def _idx(file: Path, header: int) -> Tensor:
    """The bytes of an IDX file behind its header, whose length goes with the number of dimensions."""
    with gzip.open(file) as packed:
        return torch.from_numpy(np.frombuffer(packed.read(), np.uint8, offset=header).copy())


_CIFAR10_SHA256 = {
    "train": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
    "test": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
}


def cifar10() -> Data:
    """Small colour photographs in ten classes: 50,000 to train on and 10,000 to test on.

    ``x`` is ``[N, 3, 32, 32]`` in bytes, 0 to 255, red first; ``y`` is the class, a whole number ``[N]``; both in the
    published order. Looked for in the folder ``cifar10`` of the folder that the environment variable ``THERMOLIB_DATA``
    names, as the published archive or as sprites without loss, else the archive is fetched once; checksums are verified
    either way.

    Raises
    ------
    ValueError : a file in that folder is not the published one, or decodes to other pixels.
    FileNotFoundError : neither there nor to be fetched, or there in part; the message says what to put where.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images" (2009).
    """
    if sprites := downloads.own(downloads.CIFAR10_SPRITES):
        return Data(_unpacked(sprites, "train"), _unpacked(sprites, "test"))
    (archive,) = downloads.fetch(downloads.CIFAR10).values()
    with tarfile.open(archive) as packed:
        inside = {Path(name).name: name for name in packed.getnames()}

        def part(*names: str) -> Split:
            files = (packed.extractfile(inside[f"{name}.bin"]) for name in names)
            rows = np.concatenate([np.frombuffer(file.read(), np.uint8).reshape(-1, 3073) for file in files if file])
            pixels = np.ascontiguousarray(rows[:, 1:]).reshape(-1, 3, 32, 32)  # a record is its label, then its planes
            return Split(torch.from_numpy(pixels), torch.from_numpy(rows[:, 0].astype(np.int64)))

        return Data(part(*(f"data_batch_{i}" for i in range(1, 6))), part("test_batch"))


def _unpacked(files: dict[str, Path], part: str) -> Split:
    """A part of CIFAR-10 from its sprites of 100 rows of 50 images."""
    from PIL import Image

    sprites = []
    for name in sorted(name for name in files if name.startswith(f"{part}_")):
        with Image.open(files[name]) as sprite:
            pixels = np.asarray(sprite.convert("RGB")).reshape(100, 32, 50, 32, 3)
        sprites.append(pixels.transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3))
    images = np.concatenate(sprites)
    if (found := hashlib.sha256(images.tobytes()).hexdigest()) != _CIFAR10_SHA256[part]:
        raise ValueError(
            f"the sprites of CIFAR-10's {part} part decode to other pixels (sha256 {found[:12]}...) than they should "
            f"({_CIFAR10_SHA256[part][:12]}...): this Pillow does not read WebP without loss"
        )
    labels = np.load(files["labels.npz"])[part].astype(np.int64)
    return Split(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))), torch.from_numpy(labels))


def noisy_sine(points: int = 101, noise: float = 0.1, replicas: int | None = None, seed: int = 0) -> Any:
    r"""Equally spaced points of a sine with noise in the targets.

    .. math:: y = \sin(2\pi x) + c N, \qquad x \in [-1, 1]

    ================  ============  ================================
    symbol            argument      meaning
    ================  ============  ================================
    :math:`c`         ``noise``     standard deviation of the noise
    ================  ============  ================================

    Returns
    -------
    Split : ``x`` of ``[N, 1]``, ``y`` of ``[N]``; or, with ``replicas``, Splits with noise of its own for each replica.

    Raises
    ------
    ValueError : fewer than two points, a negative noise.

    Source: Babayan, Aliahmadi and van Anders (2024), Eq. (40).
    """
    n = checks.integer("points", points, 2)
    checks.at_least("noise", noise)
    rows = 1 if replicas is None else checks.integer("replicas", replicas, 1)
    x = torch.linspace(-1, 1, n, dtype=torch.float64)
    y = torch.sin(2 * math.pi * x) + noise * _key(seed, rows).normal(_DATA, n, torch.float64)
    if replicas is None:
        return Split(x[:, None].float(), y[0].float())
    return Splits(x[:, None].float().expand(rows, n, 1), y.float())


def auto_mpg(inputs: int = 6) -> Split:
    """Miles per gallon of 392 cars: those of the 398 whose horsepower is known.

    ``x`` is ``[392, inputs]``: cylinders, displacement, horsepower, weight, acceleration and model year, or, with one
    input, horsepower alone; ``y`` is ``[392]``. Found and checked as described for :func:`mnist`, in the folder
    ``auto_mpg``.

    Raises
    ------
    ValueError : a number of inputs that is neither 1 nor 6; a file that is not the published one.
    FileNotFoundError : the file is neither there nor to be fetched.

    Source: R. Quinlan, Auto MPG, UCI Machine Learning Repository, 1993.
    """
    if inputs not in (1, 6):
        raise ValueError(f"inputs={inputs!r} is not allowed: it must be 1, horsepower, or 6, all of them")
    (file,) = downloads.fetch(downloads.AUTO_MPG).values()
    cars = [line.split("\t")[0].split() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    table = torch.tensor([[float(value) for value in car[:7]] for car in cars if "?" not in car])
    return Split(table[:, 3:4] if inputs == 1 else table[:, 1:7], table[:, 0])


def iris(features: tuple[str, ...] = ("sepal width", "petal width")) -> Split:
    """Three species of iris, 50 flowers each: ``x`` of ``[150, features]`` in cm, ``y`` of ``[150]``, 0 to 2.

    The species are setosa, versicolor and virginica. The table is Fisher's, as scikit-learn brings it; the one of the
    UCI repository differs from it in two flowers.

    Raises
    ------
    ValueError : an unknown feature.

    Source: R. A. Fisher, "The use of multiple measurements in taxonomic problems" (1936).
    """
    from sklearn.datasets import load_iris

    names = ("sepal length", "sepal width", "petal length", "petal width")
    for feature in features:
        checks.one_of("features", feature, names)
    flowers = load_iris()
    columns = [names.index(feature) for feature in features]
    return Split(torch.from_numpy(flowers.data[:, columns]).float(), torch.from_numpy(flowers.target))


def higgs() -> Split:
    """11,000 rows of the HIGGS data: ``x`` of ``[11000, 28]``, ``y`` of ``[11000]``, 1 for a Higgs boson.

    The published file has 11 million rows and 2.8 GB. These are a random part of it with a checksum of its own, looked
    for in the folder ``higgs`` of the folder that ``THERMOLIB_DATA`` names; they are not fetched.

    Raises
    ------
    ValueError : the file in that folder is another one.
    FileNotFoundError : it is not there.

    Source: D. Whiteson, HIGGS, UCI Machine Learning Repository, 2014, doi 10.24432/C5V312.
    """
    (file,) = downloads.fetch(downloads.HIGGS).values()
    with gzip.open(file, "rt", encoding="utf-8") as packed:
        table = torch.from_numpy(np.loadtxt(packed, delimiter=",", skiprows=1, dtype=np.float32))
    return Split(table[:, 1:], table[:, 0])


def random_splits(data: Split | Splits, train: int, replicas: int, seed: int = 0, test: int | None = None) -> Data:
    """A random division into training and test points for each replica, :class:`Splits` of both.

    Parameters
    ----------
    data : the points, shared by all replicas or each one's own.
    train : points to train on.
    replicas : how many divisions. That of a replica does not depend on how many there are.
    seed : of the divisions.
    test : points to test on, the rest if not given.

    Raises
    ------
    ValueError : more points than there are.
    """
    own = isinstance(data, Splits)
    n = data.x.shape[1] if own else len(data.x)
    train = checks.integer("train", train, 1)
    end = n if test is None else train + checks.integer("test", test, 1)
    if not train < n or end > n:
        raise ValueError(f"train={train} and test={end - train} are not allowed: there are {n} points")
    order = noise.permutation(_key(seed, replicas), n, _DATA + 2)
    row = torch.arange(replicas)[:, None]

    def part(points: Tensor) -> Splits:
        return Splits(data.x[row, points], data.y[row, points]) if own else Splits(data.x[points], data.y[points])

    return Data(part(order[:, :train]), part(order[:, train:end]))


def stacked(sets: Sequence[Data], replicas: int) -> Data:
    """Several data sets for one run, :class:`Splits`: the first ``replicas`` replicas have the first, and so on.

    Raises
    ------
    ValueError : no set; sets of different sizes; fewer than one replica.
    """
    times = checks.integer("replicas", replicas, 1)

    def part(splits: list[Split]) -> Splits:
        sizes = {tuple(tuple(tensor.shape) for tensor in split) for split in splits}
        if len(sizes) != 1:
            raise ValueError(f"sets={sorted(sizes)} is not allowed: there must be sets, and all of the same size")
        return Splits(*(torch.stack(tensors).repeat_interleave(times, 0) for tensors in zip(*splits, strict=True)))

    return Data(part([data.train for data in sets]), part([data.test for data in sets]))


def min_max(data: Data, targets: bool = False) -> Data:
    r"""Inputs mapped linearly so that those of the training set fill :math:`[-1, 1]`, feature by feature.

    With ``targets``, the targets are mapped likewise, and returned as ``[..., 2]``: the mapped target, and the unit,
    half the range of the training targets, in which a loss has to be measured to be that of the targets themselves
    (:func:`thermolib.losses.in_units`). Each of :class:`Splits` is mapped by its own training set.
    """

    def mapped(values: Tensor, of: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        low, high = of.amin(axis, keepdim=True), of.amax(axis, keepdim=True)
        half = ((high - low) / 2).clamp(min=torch.finfo(of.dtype).tiny)
        return (values - low) / half - 1, half

    axis = int(isinstance(data.train, Splits))

    def part(split: Any) -> Any:
        x = mapped(split.x, data.train.x, axis)[0]
        if not targets:
            return split._replace(x=x)
        y, unit = mapped(split.y, data.train.y, axis)
        return split._replace(x=x, y=torch.stack([y, unit.expand_as(y)], -1))

    return Data(part(data.train), part(data.test))
