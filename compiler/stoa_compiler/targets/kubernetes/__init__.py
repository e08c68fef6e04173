"""The target `kubernetes`: each tenant's namespace with its limits, permissions, network policies, catalog and
references to secrets, and the network policies of the zones' namespaces."""

from stoa_compiler.target import Parts, Target
from stoa_compiler.targets.kubernetes.emit import emit_tenant, join
from stoa_compiler.targets.kubernetes.rules import RULES
from stoa_compiler.targets.kubernetes.verify import verify, verify_parts, verify_rest

PARTS = Parts(emit_tenant, verify_parts, join, verify_rest)
TARGET = Target(name="kubernetes", emit=PARTS.emit_whole, verify=verify, rules=RULES, carries=("mcp",), parts=PARTS)
