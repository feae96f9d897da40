"""What the papers state, and the rules by which a chapter judges it.

The rules alone, on numbers, are functions of this package (``number``, ``curve``, ``order``, ``share``, ``similar``,
``exact``, ``holds``). A chapter judges the statements of :mod:`companion.claims.statements` with ``Verdicts``.
"""

from companion.claims.chapter import Verdicts, printed
from companion.claims.comparisons import order, share, similar
from companion.claims.numbers import bootstrap, curve, number
from companion.claims.verdict import (
    CONTRADICTED,
    NOT_RESOLVED,
    NOT_RUN,
    REPRODUCED,
    Verdict,
    exact,
    holds,
)

__all__ = [
    "CONTRADICTED",
    "NOT_RESOLVED",
    "NOT_RUN",
    "REPRODUCED",
    "Verdict",
    "Verdicts",
    "bootstrap",
    "curve",
    "exact",
    "holds",
    "number",
    "order",
    "printed",
    "share",
    "similar",
]
