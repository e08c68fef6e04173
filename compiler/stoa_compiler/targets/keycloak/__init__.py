"""The Keycloak realm of an environment: who signs in, through which client, and what their tokens say.

One realm holds every tenant. A top group names the tenant, its subgroups give roles, and client scopes turn
both into claims. The file is for `--import-realm`; what the server fills in by itself (built-in clients and
flows, keys, the secrets of confidential clients) is left out.
"""

from stoa_compiler.target import Parts, Target
from stoa_compiler.targets.keycloak.assembled import verify_parts, verify_rest
from stoa_compiler.targets.keycloak.emit import emit
from stoa_compiler.targets.keycloak.join import emit_part, join
from stoa_compiler.targets.keycloak.rules import RULES
from stoa_compiler.targets.keycloak.verify import verify

PARTS = Parts(emit_part, verify_parts, join, verify_rest)
TARGET = Target(name="keycloak", emit=emit, verify=verify, rules=RULES, parts=PARTS)
