"""Literals that look like secrets: which there are, and texts without them."""

import re
from functools import cache

_FORMS = (
    ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    ("an AWS access key", r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("a GitHub token", r"\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})"),
    ("a GitLab token", r"\bgl(pat|ptt|rt|dt)-[A-Za-z0-9_-]{20,}"),
    ("a Slack token", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    ("a Stripe key", r"\b[rs]k_live_[A-Za-z0-9]{16,}"),
    ("a Google key", r"\bAIza[0-9A-Za-z_-]{35}\b"),
    ("an API key", r"\bsk-(ant-|proj-)?[A-Za-z0-9_-]{32,}"),
    ("a Vault token", r"\bhv[bs]\.[A-Za-z0-9_-]{24,}"),
    ("a JSON web token", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
)
_SHORTEST = 15
MARKS = (
    *("PRIVATE KEY-----", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "glptt-"),
    *("glrt-", "gldt-", "xox", "k_live_", "AIza", "sk-", "hvb.", "hvs.", "eyJ"),
)
"""Every literal above holds one of these."""


@cache
def _literals() -> list[tuple[str, re.Pattern[str]]]:
    """Kinds of secrets with their patterns, compiled when there is anything to look at."""
    return [(kind, re.compile(form)) for kind, form in _FORMS]


def kind_of_secret(text: str) -> str | None:
    """What the text looks like a secret of: `a GitHub token`; None where it looks like none."""
    if len(text) < _SHORTEST:
        return None
    return next((kind for kind, pattern in _literals() if pattern.search(text)), None)


def masked(text: str) -> str:
    """The text with everything that looks like a secret made unreadable, and as long as before."""
    if len(text) < _SHORTEST:
        return text
    for _, pattern in _literals():
        text = pattern.sub(lambda found: "*" * len(found[0]), text)
    return text
