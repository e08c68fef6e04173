"""What the target `kubernetes` can find when it reads its manifests back."""

from stoa_compiler.diagnostics import Rule

_OURS = "This is a mistake of the compiler. Nothing was written; please report it."

UNREADABLE = Rule(
    code="STOA661",
    title="a rendered manifest does not read back",
    why="The cluster would refuse it, or read something else than was meant.",
    help=_OURS,
)
WRONG_OBJECT = Rule(
    code="STOA662",
    title="a rendered object is not the declared one",
    why="Namespaces, quotas, permissions and references to secrets decide what a tenant can do in the cluster.",
    help=_OURS,
)
WRONG_REACH = Rule(
    code="STOA663",
    title="the rendered policies open something else than the flows",
    why="What no flow declares is closed, what a flow declares must be open, and no tenant reaches another.",
    help=_OURS,
)
WRONG_CATALOG = Rule(
    code="STOA664",
    title="a tenant's ConfigMaps are not its catalog",
    why="What a tenant reads in its namespace must be what the gateway serves for it, byte for byte.",
    help=_OURS,
)

RULES = (UNREADABLE, WRONG_OBJECT, WRONG_REACH, WRONG_CATALOG)
