"""Columns: between our characters and the units that a client counts in."""

_WIDTHS = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}


def to_units(line: str, characters: int, encoding: str) -> int:
    """How many units of `encoding` the first characters of a line take."""
    codec, width = _WIDTHS[encoding]
    return len(line[:characters].encode(codec, "surrogatepass")) // width


def to_characters(line: str, units: int, encoding: str) -> int:
    """How many characters of a line lie before a place that is counted in units; a place inside one counts it."""
    if line.isascii():
        return min(units, len(line))
    codec, width = _WIDTHS[encoding]
    passed = 0
    for index, character in enumerate(line):
        if passed >= units:
            return index
        passed += len(character.encode(codec, "surrogatepass")) // width
    return len(line)
