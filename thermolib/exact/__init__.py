"""Answers in closed form, or computed without sampling, that the integrators must meet. Everything is float64."""

from thermolib.exact.densities import Thermostat, adaptive_langevin, stationary_density
from thermolib.exact.gradient_steps import cool_momentum_moment, heavy_ball_moment, sgld_moment
from thermolib.exact.harmonic import (
    Moments,
    effective_temperature,
    oba_temperature,
    propagator,
    stability_limit,
    stationary_moments,
)
from thermolib.exact.monte_carlo import Move, metropolis, metropolis_acceptance

__all__ = [
    "Moments",
    "Move",
    "Thermostat",
    "adaptive_langevin",
    "cool_momentum_moment",
    "effective_temperature",
    "heavy_ball_moment",
    "metropolis",
    "metropolis_acceptance",
    "oba_temperature",
    "propagator",
    "sgld_moment",
    "stability_limit",
    "stationary_density",
    "stationary_moments",
]
