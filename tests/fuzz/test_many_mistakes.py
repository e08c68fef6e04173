"""Mistakes by the hundred, of one phase or several, are reported in one run, each at its line, and nothing else is."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from many_mistakes import FILES, PER_FILE, PER_MIXED_FILE, measure, measure_mixed


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_mistake_is_reported_at_its_line(seed: int) -> None:
    figures = measure(seed)
    assert figures.files == FILES
    assert figures.mistakes == FILES * PER_FILE
    assert figures.missed == []
    assert [str(d.span) for d in figures.elsewhere] == []


@pytest.mark.parametrize("seed", range(1, 9))
def test_mistakes_of_three_phases_in_one_file_are_reported(seed: int) -> None:
    figures = measure_mixed(seed)
    assert figures.mistakes == figures.files * PER_MIXED_FILE
    assert figures.missed == []
    assert [f"{d.span}: {d.message}" for d in figures.elsewhere] == []
