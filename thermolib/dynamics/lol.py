"""Langevin dynamics in layers, and LOL: its overdamped limit in the output layer."""

from __future__ import annotations

import math

from thermolib.dynamics.base import Value, two_names
from thermolib.dynamics.langevin import Langevin
from thermolib.dynamics.partitioned import Pair, Partitioned, pair

__all__ = ["LOL", "LangevinInLayers"]


@two_names
def LangevinInLayers(
    step_size: Value = 0.1,
    friction: Pair = (1.0, 1.0),
    temperature: Pair = (1e-4, 1e-4),
    word: str = "BAOAB",
) -> Partitioned:
    r"""Langevin dynamics with its own friction and temperature in the hidden layers and in the output layer.

    .. math:: dp^{(i)} = G^{(i)}\,dt - \gamma_i p^{(i)}\,dt + \sqrt{2\tau_i\gamma_i}\,dW^{(i)}, \qquad i = 1, 2

    ============================  =================  ================
    symbol                        argument           unit
    ============================  =================  ================
    :math:`h`                     ``step_size``      time
    :math:`\gamma_1, \gamma_2`    ``friction``       1 / time
    :math:`\tau_1, \tau_2`        ``temperature``    loss
    ============================  =================  ================

    Parameters
    ----------
    step_size : a number, or a tensor of one value per replica.
    friction, temperature : a pair (hidden, output), or one value for both; each a number or a tensor of one value per
        replica.
    word : of both dynamics, letters of A, B and O. Its kicks B must share one force: no A between two of them, read
        cyclically.

    Returns
    -------
    Partitioned : with the groups ``hidden`` and ``output``; its state is ``q`` and ``p``, each ``[R, P]``, and there is
        nothing in ``parts``.

    Raises
    ------
    ValueError : what :class:`Langevin` and :class:`Partitioned` refuse, a pair of another length.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 3.1.
    """
    (g1, g2), (t1, t2) = pair("friction", friction), pair("temperature", temperature)
    parts = {
        "hidden": Langevin(word, friction=g1, temperature=t1),
        "output": Langevin(word, friction=g2, temperature=t2),
    }
    return Partitioned(parts, step_size)


@two_names
def LOL(
    step_size: Value = 0.1,
    friction: Value = 0.01,
    temperature: Pair = (1e-3, 0.0),
    word: str = "BAOAB",
) -> Partitioned:
    r"""Langevin dynamics in the hidden layers, its overdamped limit in the output layer.

    BAOAB in both, with :math:`\gamma_2 \to \infty` taken exactly in the output layer:

    .. math:: \hat p^{(1)} = e^{-\gamma_1 h} p^{(1)} + \sqrt{\tau_1 (1 - e^{-2\gamma_1 h})}\,R^{(1)}, \qquad
              \hat p^{(2)} = \sqrt{\tau_2}\,R^{(2)}

    At :math:`\tau_2 = 0` the output layer does gradient descent with the rate :math:`h^2/2`.

    ============================  =================  ================
    symbol                        argument           unit
    ============================  =================  ================
    :math:`h`                     ``step_size``      time
    :math:`\gamma_1`              ``friction``       1 / time
    :math:`\tau_1, \tau_2`        ``temperature``    loss
    ============================  =================  ================

    Parameters
    ----------
    step_size, friction : a number, or a tensor of one value per replica; the friction is that of the hidden layers.
    temperature : a pair (hidden, output), or the value of the hidden layers with zero in the output layer; each a
        number or a tensor of one value per replica.
    word : of both dynamics, as for :func:`LangevinInLayers`; the equations above are those of O.

    Returns
    -------
    Partitioned : as :func:`LangevinInLayers` returns it.

    Raises
    ------
    ValueError : what :class:`Langevin` and :class:`Partitioned` refuse, a pair of another length.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 3.2.
    """
    both = temperature if isinstance(temperature, tuple) else (temperature, 0.0)
    return LangevinInLayers(step_size, (friction, math.inf), both, word)
