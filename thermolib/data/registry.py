"""Published files: looked for, checked, and fetched once; a small one comes with the library.

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

__all__ = ["AUTO_MPG", "CIFAR10", "CIFAR10_SPRITES", "HIGGS", "MNIST", "Published", "enclosed", "fetch", "own"]

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

#: The archive without pickles.
CIFAR10 = Published(
    "CIFAR-10",
    "cifar10",
    ("https://www.cs.toronto.edu/~kriz/",),
    {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
)

#: The same images packed without loss, 5000 to a sprite; published nowhere, read where a reader has them.
CIFAR10_SPRITES = Published(
    "CIFAR-10 in sprites",
    "cifar10",
    (),
    {
        "train_00.webp": "12c7adb10904d397ed937c8404dd8f34b9a82e78ec28b29ffafc428d11968966",
        "train_01.webp": "a08560f1324d32957ec172eff29b49bd21e7f4f9c5da37aa6d1b5749645436ca",
        "train_02.webp": "99f2b32fed343ca7ff942c27c79c6f2ac3b1964ca992106e8c6f0c7c6fe0c07b",
        "train_03.webp": "ba7969f252908b4a8f5f5e5109c0ca5aed42604614c5e41d0a19ef69ac687654",
        "train_04.webp": "723a924ff1654cea3e818623cc0803fd2100d98e681cee2d2b5e384215f098d5",
        "train_05.webp": "580cd410ade7fa9dc2cc45e3cd040b19cbb4eb87d9e55b3349b9d420943058a9",
        "train_06.webp": "263121fe34b2f2b6efcd7f9f9fac295661c44ce82607a6defb59ba42b6b5dc67",
        "train_07.webp": "55fe060d9166fce8bf06f86d0b6cc203f423ecc04ae132d743a8d29c004979b2",
        "train_08.webp": "ee22151d26e274e05533f5ad01ececd614f909be3dc4efe12a82065db8dfec16",
        "train_09.webp": "603bba0689b296fb60acd4a6d467257afd7c576766ca21735876ff63a04b7026",
        "test_00.webp": "f539b1dd8f681fc26c0a5892140144795d84858f99ccacf86f2f45c4e9bcb47f",
        "test_01.webp": "aa863125a2f4a0209ad696417aa7e24137b5cd3e4a7bb0fc26e5106d8d949666",
        "labels.npz": "100457827cb30b2869dbdce3761c5279714820de9a8c6fa4d0dcc7cbc3037527",
    },
)

AUTO_MPG = Published(
    "Auto MPG",
    "auto_mpg",
    ("https://archive.ics.uci.edu/ml/machine-learning-databases/auto-mpg/",),
    {"auto-mpg.data": "48b830e11feee5572525f8f1691ddb9d38d3d7b7063edcd8fca672c2a5e17d8d"},
)

#: A random part of the published file, which is too large to be fetched for it; HIGGS.md says more.
HIGGS = ("higgs_11k.csv.gz", "4422a86b77d8e6bab8358bf6bf6704128f7c9f6b315af0030425b0133887a9db")


def enclosed(file: str, sha256: str) -> bytes:
    """A file that comes with the library. Raises ValueError where it is damaged."""
    path = Path(__file__).with_name(file)
    if hashlib.sha256(content := path.read_bytes()).hexdigest() != sha256:
        raise ValueError(f"{path} is not the file that came with the library: install it again")
    return content


def fetch(published: Published) -> dict[str, Path]:
    """Where each of the files lies on this machine, after a look at its checksum.

    Raises
    ------
    ValueError : a file in the folder that ``THERMOLIB_DATA`` names is not the published one.
    FileNotFoundError : a file is not there and cannot be fetched; the message says what to put where.
    """
    return {file: _own(published, file) or _cached(published, file) for file in published.sha256}


def own(published: Published) -> dict[str, Path]:
    """Where the files lie in the folder that ``THERMOLIB_DATA`` names, after a look at their checksums; nothing if
    none of them is there.

    Raises
    ------
    ValueError : a file is not the published one.
    FileNotFoundError : some of the files are there, and others are not.
    """
    found = {file: path for file in published.sha256 if (path := _own(published, file))}
    if found and (missing := [file for file in published.sha256 if file not in found]):
        folder = next(iter(found.values())).parent
        raise FileNotFoundError(
            f"{published.name}: {folder} lacks {', '.join(missing)}; put it there, or remove "
            f"{', '.join(found)} to have the data fetched"
        )
    return found


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
    problem = ""
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
