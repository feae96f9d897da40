"""Splitting words: which exactly solvable map acts when, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

__all__ = ["Piece", "Word"]


@dataclass(frozen=True)
class Piece:
    """One letter of a word: the map, the fraction of the step it lasts, and its position in the word.

    The position numbers the noise draw of a random map, so that rotating a word changes no random number.
    """

    letter: str
    fraction: float
    position: int


@dataclass(frozen=True)
class Word:
    r"""A step of a splitting method, written as the sequence of its maps.

    A letter that occurs :math:`k` times lasts :math:`h/k` each time: ``BAOAB`` is
    :math:`B_{h/2}\,A_{h/2}\,O_h\,A_{h/2}\,B_{h/2}`, the leftmost map acting first. Positions move under A only, so
    all kicks B between two drifts share one force. A word :math:`w` is therefore split into ``head`` and ``tail``,
    the tail beginning with the first B behind the last A, and :math:`n` words are run as

    .. math:: w^n = \text{head}\;(\text{tail}\;\text{head})^{n-1}\;\text{tail},

    whose middle part begins with B and asks for one force a step.

    Parameters
    ----------
    letters : the word, for example ``"BAOAB"``.
    alphabet : the letters that are known; A and B must occur.

    Raises
    ------
    ValueError : unknown letter, or a word without A or B.

    Source: Leimkuhler, Matthews, Vlaar (2019), section 2.2, Eqs. (8) and (9).
    """

    letters: str
    alphabet: str = "ABO"

    def __post_init__(self) -> None:
        unknown = sorted(set(self.letters) - set(self.alphabet))
        if unknown:
            raise ValueError(
                f"word={self.letters!r} has the unknown letter {unknown[0]!r}: allowed are {', '.join(self.alphabet)}"
            )
        for needed in "AB":
            if needed not in self.letters:
                raise ValueError(f"word={self.letters!r} has no {needed}: a word needs both A (drift) and B (kick)")

    def __str__(self) -> str:
        return self.letters

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The maps in the order written."""
        return tuple(Piece(x, 1.0 / self.letters.count(x), i) for i, x in enumerate(self.letters))

    @cached_property
    def _cut(self) -> int:
        """Where the tail begins: the first B behind the last A, or the first B if the last A has none behind it."""
        last_drift = self.letters.rindex("A")
        behind = self.letters.find("B", last_drift)
        if behind >= 0:
            return behind
        # No kick behind the last drift: the cycle's kick is the first one behind some drift, read cyclically.
        before = self.letters.find("B")
        return before

    @cached_property
    def head(self) -> tuple[Piece, ...]:
        return self.pieces[: self._cut]

    @cached_property
    def tail(self) -> tuple[Piece, ...]:
        return self.pieces[self._cut :]

    @cached_property
    def forces(self) -> int:
        """Force evaluations per step: the kicks, counted once between two drifts."""
        turn = self.letters[self._cut :] + self.letters[: self._cut]
        return sum(1 for part in turn.split("A") if "B" in part)

    @cached_property
    def chain(self) -> str:
        r"""The Markov chain the word belongs to: its cyclic normal form.

        Two words that differ by a rotation, or by writing a map as two consecutive halves, are one chain looked at
        from different points of its cycle. The eighteen words of A, B and O are five such chains. The name is the
        alphabetically first rotation of the letters with their accumulated fractions.
        """
        runs: list[list] = []
        for piece in self.pieces:
            if runs and runs[-1][0] == piece.letter:
                runs[-1][1] += piece.fraction
            else:
                runs.append([piece.letter, piece.fraction])
        if len(runs) > 1 and runs[0][0] == runs[-1][0]:
            runs[0][1] += runs.pop()[1]
        rotations = [runs[i:] + runs[:i] for i in range(len(runs))]
        best = min(rotations, key=lambda r: [(x, round(f, 9)) for x, f in r])
        return " ".join(x if abs(f - 1) < 1e-9 else f"{x}/{round(1 / f)}" for x, f in best)
