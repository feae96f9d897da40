"""Data: points drawn from the library's own noise, and sets that are fetched and checked."""

from thermolib.data.drawn import noisy_sine, spirals, trigonometric
from thermolib.data.published import auto_mpg, cifar10, higgs, iris, mnist
from thermolib.data.splits import Data, Split, Splits, min_max, random_splits, stacked

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
