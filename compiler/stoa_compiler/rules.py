"""Every rule there is, by code: what `stoa explain` prints."""

from stoa_compiler import checks, link, load, operations, parse, validate
from stoa_compiler.compatibility import judging
from stoa_compiler.diagnostics import Rule
from stoa_compiler.stoa_v2 import read
from stoa_compiler.targets import MODULES, target_named

DECLARED: tuple[Rule, ...] = (
    *load.RULES,
    *parse.RULES,
    *validate.RULES,
    *link.RULES,
    *operations.RULES,
    *checks.RULES,
    *(rule for name in MODULES for rule in target_named(name).rules),
    *judging.RULES,
    *read.RULES,
)
"""Every rule as its module declares it."""

RULES: dict[str, Rule] = {rule.code: rule for rule in DECLARED}
