"""Whether two kinds of request take the same time: pairs in random order, judged by Wilcoxon's signed ranks.

The two requests of a pair are sent in turn, in an order that a coin decides, and the quickest answer of each counts. If
the server treats both alike, each difference is as likely to be positive as negative, whatever else the machine does;
so the false-alarm rate is that of the test, also on a busy machine. Ranks keep single slow answers from deciding.
"""

import math
import random
import time
from collections.abc import Callable, Sequence

ALARM = 0.001
"""The false-alarm rate of one try."""
REPEATS = 5
"""Calls of each kind in a pair."""
TRIES = 3
"""An alarm counts only if each of so many tries with fresh random numbers gives one: a rate of ALARM ** TRIES."""


def pairs(one: Callable[[], object], other: Callable[[], object], count: int, rng: random.Random) -> list[float]:
    """Differences of the seconds that `one` and `other` take, each the best of some calls in turn."""
    differences = []
    for _ in range(count):
        best = [math.inf, math.inf]
        order = [0, 1] if rng.random() < 0.5 else [1, 0]
        for which in order * REPEATS:
            began = time.perf_counter()
            (one, other)[which]()
            best[which] = min(best[which], time.perf_counter() - began)
        differences.append(best[0] - best[1])
    return differences


def probability(differences: Sequence[float]) -> float:
    """How likely differences so far from zero are where there is none (two-sided, by the normal approximation)."""
    ranked = sorted((abs(d), d > 0) for d in differences if d)
    count = len(ranked)
    positive = sum(rank for rank, (_, is_positive) in enumerate(ranked, 1) if is_positive)
    mean, variance = count * (count + 1) / 4, count * (count + 1) * (2 * count + 1) / 24
    return math.erfc(abs(positive - mean) / math.sqrt(2 * variance))


def alarms(measure: Callable[[random.Random], Sequence[float]], seed: int) -> bool:
    """Whether each try finds a difference."""
    return all(probability(measure(random.Random(seed + at))) < ALARM for at in range(TRIES))
