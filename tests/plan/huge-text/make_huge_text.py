"""Both sides of a contract whose text and schema grow beyond what anybody reads."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "nothing-changed" / "base"


def base() -> dict[str, str]:
    """The files by path."""
    return {p.relative_to(FOLDER).as_posix(): p.read_text() for p in sorted(FOLDER.rglob("*.yaml"))}


def head() -> dict[str, str]:
    """An intent of 2,000 characters in one line, and a schema of 3,000 properties."""
    files = base()
    contract = "shop/contracts/orders.yaml"
    intent = ("Read the whole of this before you do anything else. " * 39)[:1990].strip()
    files[contract] = files[contract].replace("Use it when the order's number is known.", intent)
    properties = "".join(f"\n          field_{n}: {{type: string, maxLength: {n + 1}}}" for n in range(3000))
    old = "properties:\n          id: {type: string}\n          state"
    assert old in files[contract]
    files[contract] = files[contract].replace(
        old, f"properties:{properties}\n          id: {{type: string}}\n          state"
    )
    return files
