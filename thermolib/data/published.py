"""Published sets, checked against their checksums."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from thermolib.data import registry
from thermolib.data.splits import Data, Split
from thermolib.ground import checks

__all__ = ["auto_mpg", "cifar10", "higgs", "iris", "mnist"]


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
    files = registry.fetch(registry.MNIST)

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
    if sprites := registry.own(registry.CIFAR10_SPRITES):
        return Data(_unpacked(sprites, "train"), _unpacked(sprites, "test"))
    (archive,) = registry.fetch(registry.CIFAR10).values()
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
    (file,) = registry.fetch(registry.AUTO_MPG).values()
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

    The published file has 11 million rows and 2.8 GB. These are a random part of it that comes with the library; the
    file ``HIGGS.md`` beside it says how it was drawn.

    Raises
    ------
    ValueError : the file is damaged.

    Source: D. Whiteson, HIGGS, UCI Machine Learning Repository, 2014, doi 10.24432/C5V312; licence: CC BY 4.0.
    """
    rows = gzip.decompress(registry.enclosed(*registry.HIGGS)).decode().splitlines()
    table = torch.from_numpy(np.loadtxt(rows, delimiter=",", skiprows=1, dtype=np.float32))
    return Split(table[:, 1:], table[:, 0])
