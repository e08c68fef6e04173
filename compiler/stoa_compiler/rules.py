"""Every rule there is, by code: what `stoa explain` prints."""

from stoa_compiler import checks, link, load, operations, parse, validate
from stoa_compiler.diagnostics import Rule
from stoa_compiler.targets import TARGETS

RULES: dict[str, Rule] = {
    rule.code: rule
    for rules in (
        load.RULES,
        parse.RULES,
        validate.RULES,
        link.RULES,
        operations.RULES,
        checks.RULES,
        *(t.rules for t in TARGETS),
    )
    for rule in rules
}
