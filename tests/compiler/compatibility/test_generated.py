"""Random pairs of schemas, held against values: what is called compatible never loses one."""

import os
from random import Random

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoa_compiler.compatibility import accepts_all
from tests.compiler.compatibility import generated

PAIRS = int(os.environ.get("STOA_SCHEMA_PAIRS", "600"))
"""Pairs of one run. By hand: `STOA_SCHEMA_PAIRS=200000 pytest tests/compiler/compatibility/test_generated.py`."""
VALUES = 40
RANDOMS = st.integers(0, 2**64 - 1).map(Random)
"""One number each: what was found by chance is found again by it."""
quickly = settings(max_examples=PAIRS, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


@quickly
@given(RANDOMS)
def test_what_is_compatible_takes_every_old_value(random: Random) -> None:
    """As a request, the new schema takes what the old took; as an answer, the other way round: it is one property."""
    old = generated.whole(random)
    new = generated.changed(random, old) if random.random() < 0.9 else generated.whole(random)
    old, new = (old, new) if random.random() < 0.5 else (new, old)
    takes = [generated.validator(s) for s in (old, new)]
    if takes[0] is None or takes[1] is None or accepts_all(old, new).answer != "compatible":
        return
    for _ in range(VALUES):
        of = old if random.random() < 0.7 else new
        value = generated.value(random, of, of if isinstance(of, dict) else {})
        assert not takes[0].is_valid(value) or takes[1].is_valid(value), (old, new, value)


@quickly
@given(RANDOMS)
def test_a_schema_is_compatible_with_itself_reordered_and_annotated(random: Random) -> None:
    old = generated.whole(random)
    assert accepts_all(old, old).answer == "compatible"
    again = generated.annotated(random, old)
    assert accepts_all(old, again).answer == "compatible", (old, again)
    assert accepts_all(again, old).answer == "compatible", (old, again)


@settings(max_examples=max(60, PAIRS // 5), deadline=None, database=None)
@given(RANDOMS)
def test_what_is_called_certain_with_a_value_is_shown_by_it(random: Random) -> None:
    """A value that the verdict names is one that the part of the old schema takes: it is never made up."""
    old = generated.whole(random)
    new = generated.changed(random, old)
    takes = [generated.validator(s) for s in (old, new)]
    if takes[0] is None or takes[1] is None:
        return
    for problem in accepts_all(old, new).problems:
        if problem.example and not problem.example.endswith("...") and not problem.place and problem.certain:
            value = orjson.loads(problem.example)
            assert not takes[1].is_valid(value), (old, new, problem)
