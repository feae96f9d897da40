"""Does what a cell prints now agree with what it printed when it was stored?

A cell says by its tags how its numbers are compared; the text between the numbers must be the same in every case,
but for the amount of white space.

``rtol=1e-6``, ``atol=1e-9``
    Numbers agree within the relative or the absolute tolerance (the wider of the two). Integers agree exactly.
``zscore=5``
    For results with statistical errors, written as ``0.812 ± 0.004``: two of them, a ± s and b ± t, agree when
    |a - b| <= 5 sqrt(s² + t²), and when neither of s and t exceeds five times the other, so that an error bar that
    explodes cannot hide a changed result. Other numbers of the cell agree as the tolerances say, exactly without any.
    A standard error is itself only known to 1/sqrt(2n): put 10 runs or more behind each.

Without such a tag the outputs must be the same to the letter. The tolerances may be combined; ``atol`` then also widens
the ± rule.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

NUMBER = r"(?<![\w.])[-+]?(?:(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?|nan|inf)(?![\w.]*\w)"
QUANTITY = re.compile(rf"({NUMBER})(?:\s*±\s*({NUMBER}))?")
ERRORS_AGREE_WITHIN = 5.0


@dataclass(frozen=True)
class Tolerance:
    rtol: float = 0.0
    atol: float = 0.0
    zscore: float | None = None

    @property
    def exact(self) -> bool:
        return self == Tolerance()


def tolerance(tags: list[str]) -> Tolerance:
    """The tolerance that a cell's tags ask for."""
    said: dict[str, float] = {}
    for tag in tags:
        name, equals, value = tag.partition("=")
        if equals and name in ("rtol", "atol", "zscore"):
            try:
                said[name] = float(value)
            except ValueError:
                raise ValueError(f"the tag {tag!r} must end in a number, as in '{name}=1e-6'") from None
            if not 0 < said[name] < math.inf:
                raise ValueError(f"the tag {tag!r} must be above zero and finite")
        elif name in ("rtol", "atol", "zscore"):
            raise ValueError(f"the tag {tag!r} must say a number, as in '{name}=1e-6'")
    return Tolerance(**said)


def difference(reference: str, new: str, within: Tolerance) -> str:
    """What differs between two texts, in one line; empty where they agree."""
    if within.exact:
        return "" if reference == new else "the text differs, and the cell has no tag that allows it to"
    if _words(reference) != _words(new):
        return "the text between the numbers differs"
    for old, now in zip(QUANTITY.finditer(reference), QUANTITY.finditer(new), strict=True):
        if problem := _disagreement(old, now, within):
            return problem
    return ""


def _words(text: str) -> list[str]:
    # With the ± of each quantity in its place: a number with an error never stands for one without.
    return " ".join(QUANTITY.sub(lambda m: " ±# " if m[2] else " # ", text).split()).split(" ")


def _disagreement(old: re.Match, now: re.Match, within: Tolerance) -> str:
    a, b = float(old[1]), float(now[1])
    if old[0] == now[0]:
        return ""
    slack = max(within.atol, within.rtol * max(abs(a), abs(b)))
    if within.zscore is not None and old[2]:
        s, t = float(old[2]), float(now[2])
        if not all(map(math.isfinite, (a, b, s, t))):
            return f"{now[0]} instead of {old[0]}"
        if abs(s - t) > slack and max(s, t) > ERRORS_AGREE_WITHIN * min(s, t):
            return f"{now[0]} instead of {old[0]}: the errors differ by more than a factor {ERRORS_AGREE_WITHIN:g}"
        apart, allowed = abs(a - b), within.zscore * math.hypot(s, t) + slack
        return "" if apart <= allowed else f"{now[0]} instead of {old[0]}: {apart:.3g} apart, allowed {allowed:.3g}"
    for x, y in [(old[1], now[1])] + ([(old[2], now[2])] if old[2] else []):
        p, q = float(x), float(y)
        same = p == q or (math.isnan(p) and math.isnan(q))
        integers = not any(map(re.compile(r"[.enaif]", re.I).search, (x, y)))
        near = not integers and math.isfinite(p) and math.isfinite(q) and abs(p - q) <= slack
        if not (same or near):
            return f"{y} instead of {x} (rtol={within.rtol:g}, atol={within.atol:g})"
    return ""


def texts(outputs: list[Any], keep_stderr: bool) -> list[tuple[str, str]]:
    """The outputs of a cell that are compared, as (kind, text). Pictures are left out: their pixels are no numbers."""
    found: list[tuple[str, str]] = []
    for output in outputs:
        kind = output["output_type"]
        if kind == "stream":
            name = output["name"]
            if name == "stderr" and not keep_stderr:
                continue
            if found and found[-1][0] == name:  # how often a stream is flushed is chance
                found[-1] = (name, found[-1][1] + output["text"])
            else:
                found.append((name, output["text"]))
        elif kind == "error":
            found.append(("error", f"{output['ename']}: {output['evalue']}"))
        else:
            for mime, data in sorted(output["data"].items()):
                if mime == "text/plain" and data.startswith("<Figure size"):
                    continue  # the size of a picture in pixels is no result
                if "image/" in mime:
                    found.append((mime, ""))  # that there is a picture is compared
                elif not isinstance(data, str):
                    found.append((mime, json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False)))
                else:
                    found.append((mime, data))
    return found
