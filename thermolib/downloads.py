"""Published files: looked for, checked, and fetched once.

Every file has a checksum, and none is read without it. The folder that the environment variable ``THERMOLIB_DATA``
names is looked in first (``$THERMOLIB_DATA/mnist/...``); what is not there is fetched into the cache of the user.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pooch

__all__ = ["AUTO_MPG", "HIGGS", "IRIS", "MNIST", "Published", "fetch"]

VARIABLE = "THERMOLIB_DATA"
#: Seconds to wait for an address before the next one is tried.
PATIENCE = 20


@dataclass(frozen=True)
class Published:
    """Files that belong together: the ``folder`` they lie in, where they are published, and their checksums."""

    name: str
    folder: str
    addresses: tuple[str, ...]
    sha256: Mapping[str, str]


MNIST = Published(
    "MNIST",
    "mnist",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)

AUTO_MPG = Published(
    "Auto MPG",
    "auto_mpg",
    ("https://archive.ics.uci.edu/ml/machine-learning-databases/auto-mpg/",),
    {"auto-mpg.data": "48b830e11feee5572525f8f1691ddb9d38d3d7b7063edcd8fca672c2a5e17d8d"},
)

IRIS = Published(
    "Iris",
    "iris",
    ("https://archive.ics.uci.edu/ml/machine-learning-databases/iris/",),
    {"iris.data": "6f608b71a7317216319b4d27b4d9bc84e6abd734eda7872b71a458569e2656c0"},
)

#: A random part of the published file, which is too large to be fetched for it: there is no address.
HIGGS = Published(
    "HIGGS",
    "higgs",
    (),
    {"higgs_11k.csv.gz": "4422a86b77d8e6bab8358bf6bf6704128f7c9f6b315af0030425b0133887a9db"},
)


def fetch(published: Published) -> dict[str, Path]:
    """Where each of the files lies on this machine, after a look at its checksum.

    Raises
    ------
    ValueError : a file in the folder that ``THERMOLIB_DATA`` names is not the published one.
    FileNotFoundError : a file is not there and cannot be fetched; the message says what to put where.
    """
    return {file: _own(published, file) or _cached(published, file) for file in published.sha256}


def _own(published: Published, file: str) -> Path | None:
    """The file in the reader's own folder, if there is one."""
    if not (folder := os.environ.get(VARIABLE)):
        return None
    path = Path(folder).expanduser() / published.folder / file
    if not path.is_file():
        return None
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != published.sha256[file]:
        raise ValueError(
            f"{path} is not the published file: its {len(content)} bytes have the sha256 {found[:12]}..., and it must "
            f"be {published.sha256[file][:12]}...; replace it, or delete it to have it fetched"
        )
    return path


def _cached(published: Published, file: str) -> Path:
    """The file in the user's cache, fetched from the first address that gives the right one."""
    cache = Path(pooch.os_cache("thermolib")) / published.folder
    problem = "" if published.addresses else "it is published as a part of a larger file only"
    for address in published.addresses:
        try:
            loader = pooch.HTTPDownloader(timeout=PATIENCE)
            known = f"sha256:{published.sha256[file]}"
            return Path(pooch.retrieve(address + file, known, file, cache, downloader=loader))
        except ValueError:
            problem = problem or f"{address} sent another file"
        except OSError as error:
            problem = problem or f"{address} gave a {type(error).__name__}"
    folder = os.environ.get(VARIABLE) or "/a/folder/of/yours"
    wanted = ", ".join(published.sha256)
    raise FileNotFoundError(
        f"{published.name} is not on this machine and could not be fetched ({problem}): put {wanted} "
        f"into {Path(folder) / published.folder} and set {VARIABLE}={folder}"
    )
