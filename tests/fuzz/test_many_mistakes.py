"""Two hundred mistakes in fifty files are reported in one run, each at its line, and nothing else is."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from many_mistakes import FILES, PER_FILE, measure


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_mistake_is_reported_at_its_line(seed: int) -> None:
    figures = measure(seed)
    assert figures.files == FILES
    assert figures.mistakes == FILES * PER_FILE
    assert figures.missed == []
    assert [str(d.span) for d in figures.elsewhere] == []
