"""Which differences of a grid exceed the noise over seeds, for all its pairs of settings together.

In: differences paired by seed. Out: the pairs that differ; among identical settings any pair does in at most 5 % of
grids, however many settings there are. Imports no torch. Next: `statistics.py`, which pairs the runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

LEVEL = 0.05
"""Probability that a grid of identical settings shows any difference."""


def student_p(t: float, degrees: int) -> float:
    """Return the two-sided p-value of Student's t (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4).

    >>> round(student_p(4.303, 2), 4)
    0.05
    """
    angle = math.atan(abs(t) / math.sqrt(degrees))
    term, total = (math.cos(angle) if degrees % 2 else 1.0), 0.0
    for k in range(2 + degrees % 2, degrees + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (k - 1) / k
    inside = math.sin(angle) * total
    return max(0.0, 1.0 - (2.0 / math.pi * (angle + inside) if degrees % 2 else inside))


def p_value(differences: Sequence[float]) -> float:
    """Return the p-value of the hypothesis that differences over seeds have mean 0; 1 for fewer than two seeds."""
    finite = [value for value in differences if math.isfinite(value)]
    if len(finite) < 2:
        return 1.0
    error, mean = float(np.std(finite, ddof=1)) / math.sqrt(len(finite)), float(np.mean(finite))
    if error == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    return student_p(mean / error, len(finite) - 1)


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Return which hypotheses are rejected so that any true one is with probability `level` at most (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [True, False, False]
    """
    rejected = [False] * len(p_values)
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] > level / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected
