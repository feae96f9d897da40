"""AdLaLa: Adaptive Langevin dynamics in the hidden layers, Langevin dynamics in the output layer."""

from __future__ import annotations

from thermolib.dynamics.adaptive_langevin import AdaptiveLangevin
from thermolib.dynamics.base import Value, two_names
from thermolib.dynamics.langevin import Langevin
from thermolib.dynamics.partitioned import Pair, Partitioned, pair

__all__ = ["AdLaLa"]


@two_names
def AdLaLa(
    step_size: Value = 0.15,
    temperature: Pair = (1e-4, 1e-4),
    friction: Value = 0.1,
    noise: Value = 0.01,
    coupling: Value = 0.1,
    convention: str = "sde",
    thermostats: str = "group",
    words: tuple[str, str] = ("BACDEDCAB", "BAOAB"),
) -> Partitioned:
    r"""Adaptive Langevin dynamics in the hidden layers, Langevin dynamics in the output layer.

    .. math::

        dp^{(1)} &= G^{(1)}\,dt - \epsilon\xi p^{(1)}\,dt + \sigma_A\,dW^{(1)}, \qquad
        d\xi = \epsilon\,(|p^{(1)}|^2 - N_1\tau_1)\,dt \\
        dp^{(2)} &= G^{(2)}\,dt - \gamma p^{(2)}\,dt + \sqrt{2\tau_2\gamma}\,dW^{(2)}

    ============================  =================  ============================
    symbol                        argument           unit
    ============================  =================  ============================
    :math:`h`                     ``step_size``      time
    :math:`\tau_1, \tau_2`        ``temperature``    loss
    :math:`\gamma`                ``friction``       1 / time
    :math:`\sigma_A`              ``noise``          momentum / sqrt(time)
    :math:`\epsilon`              ``coupling``       convention "sde": 1 / momentum
    ============================  =================  ============================

    Parameters
    ----------
    step_size, friction, noise, coupling : a number, or a tensor of one value per replica.
    temperature : a pair (hidden, output), or one value for both; each a number or a tensor of one value per replica.
    convention, thermostats : as for :class:`AdaptiveLangevin`; the authors' code is "code" with "tensor".
    words : of the hidden layers, letters of A to F as for :class:`AdaptiveLangevin`, and of the output layer, letters
        of A, B and O. In either, the kicks B must share one force: no A between two of them, read cyclically.

    Returns
    -------
    Partitioned : with the groups ``hidden`` and ``output``; its state is ``q`` and ``p``, each ``[R, P]``, and
        ``parts["hidden"]["xi"]``, ``[R, K]``, where K is 1, or the number of the hidden layers' parameter tensors.

    Raises
    ------
    ValueError : what :class:`AdaptiveLangevin`, :class:`Langevin` and :class:`Partitioned` refuse, a pair of another
        length.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 3.3, Eq. (15).
    """
    t1, t2 = pair("temperature", temperature)
    hidden = AdaptiveLangevin(
        words[0],
        temperature=t1,
        noise=noise,
        coupling=coupling,
        convention=convention,
        thermostats=thermostats,
    )
    return Partitioned({"hidden": hidden, "output": Langevin(words[1], friction=friction, temperature=t2)}, step_size)
