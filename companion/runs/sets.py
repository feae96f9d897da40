"""The data sets of the chapters: their sizes and licences, where they are on this machine, and how to get them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pooch

from thermolib.data import registry
from thermolib.data.registry import Published

__all__ = ["FETCHED", "PRESENT", "fetch", "listed"]

#: The sets that are fetched when a chapter first asks for them: the forms that will do, the last one published; size
#: and licence.
FETCHED: dict[str, tuple[tuple[Published, ...], str, str]] = {
    "mnist": ((registry.MNIST,), "11.6 MB", "CC BY-SA 3.0"),
    "cifar10": ((registry.CIFAR10_SPRITES, registry.CIFAR10), "170.1 MB", "none is stated; cite the report"),
    "auto_mpg": ((registry.AUTO_MPG,), "under .1 MB", "CC BY 4.0"),
}
#: The others: size, licence and where they are.
PRESENT = {
    "higgs": ("1.4 MB", "CC BY 4.0", "comes with the library"),
    "iris": ("under .1 MB", "CC BY 4.0", "comes with scikit-learn"),
    "imagenet": ("154.6 GB", "terms of access", "is fetched by who has registered at https://www.image-net.org"),
}


def listed() -> Iterator[tuple[str, str, str, str]]:
    """Of each set: name, size, licence, and where it is on this machine."""
    for name, (forms, size, licence) in FETCHED.items():
        folder = next(filter(None, map(_here, forms)), None)
        yield name, size, licence, f"here: {folder}" if folder else f"not here: companion data {name} fetches it"
    for name, about in PRESENT.items():
        yield name, *about


def _here(published: Published) -> Path | None:
    """The folder in which all of the files lie; None where one is missing."""
    own, cache = os.environ.get(registry.VARIABLE), Path(pooch.os_cache("thermolib"))
    for folder in [Path(own).expanduser(), cache] if own else [cache]:
        if all((folder / published.folder / file).is_file() for file in published.sha256):
            return folder / published.folder
    return None


def fetch(names: Sequence[str]) -> Iterator[str]:
    """Fetch each set that is not here, and say where it is. Raises ValueError where that cannot be."""
    for name in names:
        if name not in FETCHED:
            where = f"it {PRESENT[name][2]}" if name in PRESENT else f"there are: {', '.join(FETCHED)}"
            raise ValueError(f"{name!r} is no set that can be fetched; {where}")
    for name in names:
        forms = FETCHED[name][0]
        published = next(filter(_here, forms), forms[-1])
        try:
            folders = {path.parent for path in registry.fetch(published).values()}
        except FileNotFoundError as error:
            raise ValueError(str(error)) from None
        yield f"{published.name}: {', '.join(map(str, folders))}, checksums verified"
