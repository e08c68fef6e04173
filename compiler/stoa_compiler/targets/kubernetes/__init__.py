"""The target `kubernetes`: each tenant's namespace with its limits, permissions, network policies, catalog and
references to secrets, and the network policies of the zones' namespaces."""

from stoa_compiler.target import Target
from stoa_compiler.targets.kubernetes.emit import emit
from stoa_compiler.targets.kubernetes.rules import RULES
from stoa_compiler.targets.kubernetes.verify import verify

TARGET = Target(name="kubernetes", emit=emit, verify=verify, rules=RULES, carries=("mcp",))
