"""What can be wrong with a bundle, and where in it."""

from stoa_compiler.records import record

Step = str | int


@record
class Invariant:
    """Something that holds of every bundle."""

    code: str
    title: str
    """What is wrong where it does not hold."""
    why: str


UNREADABLE = Invariant(
    "STOA681",
    "an artifact cannot be read",
    "What cannot be read cannot be judged, and its consumer would refuse it or read something else.",
)
ROLE_MISSING = Invariant(
    "STOA682",
    "a role that gives tools does not exist where it is needed",
    "A tool whose role the role table or the realm lacks is declared and never reachable, or reachable by a role that "
    "nobody reviewed.",
)
CROSSING = Invariant(
    "STOA683",
    "somebody reaches another tenant's tools",
    "Only a role of scope `platform`, held by the platform's own people, crosses tenants.",
)
BEYOND = Invariant(
    "STOA684",
    "a role gives more than its permissions",
    "The role table bounds what a role may do at all; a grant beyond it was never reviewed as such.",
)
TOKEN = Invariant(
    "STOA685",
    "a token would say something else than the gateway expects",
    "A tenant, a role or an audience too many opens what nobody granted; one too few locks its holder out.",
)
ISSUER = Invariant(
    "STOA686",
    "the gateway trusts another issuer than the realm",
    "Tokens of an issuer that is not the bundle's realm are either refused or somebody else's.",
)
CLIENT = Invariant(
    "STOA687",
    "an application differs between the realm and the catalogs, or is open",
    "A flow, an address or an application that only one side knows is a way to get tokens that nobody reviewed.",
)
APPROVAL = Invariant(
    "STOA688",
    "a destructive tool demands no approval",
    "What cannot be undone is decided by two people.",
)
SECRET = Invariant(
    "STOA689",
    "a secret is no reference, or another tenant's",
    "A bundle lies in Git: it holds where secrets are kept, never a secret.",
)
REACH = Invariant(
    "STOA690",
    "the network opens a way that nobody declared",
    "Tenants do not reach each other, and nobody outside reaches internal services but through the gateways.",
)
MISMATCH = Invariant(
    "STOA691",
    "two artifacts disagree",
    "What was reviewed in one would not be what the other deploys.",
)
PROJECT = Invariant(
    "STOA692",
    "an Argo CD project or Application reaches further than its tenant",
    "Whoever may write what a project takes could make objects elsewhere in the cluster.",
)
BOUND = Invariant(
    "STOA693",
    "a tenant's namespace lacks one of its bounds",
    "Without quota, pod security, roles of its own and closed tokens a tenant takes what belongs to others.",
)

INVARIANTS = (
    UNREADABLE,
    ROLE_MISSING,
    CROSSING,
    BEYOND,
    TOKEN,
    ISSUER,
    CLIENT,
    APPROVAL,
    SECRET,
    REACH,
    MISMATCH,
    PROJECT,
    BOUND,
)


@record(order=True)
class Finding:
    """An invariant that does not hold, and the place that shows it."""

    path: str
    """The artifact."""
    pointer: str
    """JSON pointer (RFC 6901) inside it; for YAML of several documents it begins with the document's number."""
    code: str
    message: str

    def __str__(self) -> str:
        at = f"#{self.pointer}" if self.pointer else ""
        return f"{self.path}{at}: {self.code} {self.message}"


def pointer(*steps: Step) -> str:
    """The JSON pointer of some keys and indexes."""
    return "".join("/" + str(s).replace("~", "~0").replace("/", "~1") for s in steps)
