"""Breaking changes: what an old caller loses by a change, judged by the direction of data.

judgement = judge(base, head, today)            # of two graphs: breaks, findings, versions
breaks = compare_contracts(before, after)       # of two versions of one contract
verdict = accepts_all(narrower, wider)          # of two schemas
"""

from stoa_compiler.compatibility.contracts import Break, Ignored, compare_contracts
from stoa_compiler.compatibility.judging import RULES, Judgement, Versions, covers, judge
from stoa_compiler.compatibility.kinds import KINDS, Category, Kind, Level
from stoa_compiler.compatibility.subschema import Problem, Verdict, accepts_all

__all__ = [
    "KINDS",
    "RULES",
    "Break",
    "Category",
    "Ignored",
    "Judgement",
    "Kind",
    "Level",
    "Problem",
    "Verdict",
    "Versions",
    "accepts_all",
    "compare_contracts",
    "covers",
    "judge",
]
