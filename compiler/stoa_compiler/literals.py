"""Literals that look like secrets: which there are, and texts without them."""

import re

_LITERALS = (
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    ("an AWS access key", re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a GitHub token", re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})")),
    ("a GitLab token", re.compile(r"\bgl(pat|ptt|rt|dt)-[A-Za-z0-9_-]{20,}")),
    ("a Slack token", re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}")),
    ("a Stripe key", re.compile(r"\b[rs]k_live_[A-Za-z0-9]{16,}")),
    ("a Google key", re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b")),
    ("an API key", re.compile(r"\bsk-(ant-|proj-)?[A-Za-z0-9_-]{32,}")),
    ("a Vault token", re.compile(r"\bhv[bs]\.[A-Za-z0-9_-]{24,}")),
    ("a JSON web token", re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")),
)
_SHORTEST = 15
MARKS = (
    *("PRIVATE KEY-----", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "glptt-"),
    *("glrt-", "gldt-", "xox", "k_live_", "AIza", "sk-", "hvb.", "hvs.", "eyJ"),
)
"""Every literal above holds one of these."""


def kind_of_secret(text: str) -> str | None:
    """What the text looks like a secret of: `a GitHub token`; None where it looks like none."""
    if len(text) < _SHORTEST:
        return None
    return next((kind for kind, pattern in _LITERALS if pattern.search(text)), None)


def masked(text: str) -> str:
    """The text with everything that looks like a secret made unreadable, and as long as before."""
    if len(text) < _SHORTEST:
        return text
    for _, pattern in _LITERALS:
        text = pattern.sub(lambda found: "*" * len(found[0]), text)
    return text
