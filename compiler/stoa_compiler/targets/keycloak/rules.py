"""What `verify` can find in a realm."""

from stoa_compiler.diagnostics import Rule

UNREADABLE = Rule(
    code="STOA641",
    title="the realm cannot be read back",
    why="What cannot be read cannot be proved, and Keycloak would refuse to start with it.",
    help="This is a mistake of the compiler: please report it with the source that shows it.",
)
WRONG_TOKEN = Rule(
    code="STOA642",
    title="a token would not say what is declared",
    why="The runtime decides by the token alone. A tenant, role or audience too many opens what nobody granted; one "
    "too few locks its holder out.",
    help="This is a mistake of the compiler: please report it with the source that shows it.",
)
WRONG_CLIENT = Rule(
    code="STOA643",
    title="a client differs from its declaration",
    why="A flow or an address that nobody declared is a way to get tokens that nobody reviewed.",
    help="This is a mistake of the compiler: please report it with the source that shows it.",
)
ROLE_MISSING = Rule(
    code="STOA644",
    title="the realm lacks a role",
    why="A tool whose role nobody can hold is declared and never reachable.",
    help="Declare the role in the platform's role table.",
)
OPEN_REDIRECT = Rule(
    code="STOA645",
    title="the redirect URI is not exact and safe",
    why="The authorization code goes wherever a redirect URI allows: a wildcard, another scheme or plain HTTP lets "
    "someone else collect it (RFC 9700, 2.1; RFC 8252, 7.3).",
    help="Write the exact https URL; http only to a loopback address.",
)
SECRET = Rule(
    code="STOA646",
    title="the realm carries a secret",
    why="The file is kept in Git. Keycloak makes keys and client secrets by itself, and people set their passwords.",
    help="This is a mistake of the compiler: please report it with the source that shows it.",
)
PLACEHOLDER = Rule(
    code="STOA647",
    title="the text holds a placeholder",
    why="On import Keycloak replaces `${NAME}` in every text by the server's environment variable NAME, secrets "
    "included, and shows the result to whoever may read the text.",
    help="Write the text without `${`.",
)
TOO_LONG = Rule(
    code="STOA648",
    title="the text is longer than Keycloak stores",
    why="Its database takes 255 characters, and one longer text makes the import of the whole realm fail.",
    help="Shorten the text to 255 characters.",
)
COLLISION = Rule(
    code="STOA649",
    title="the name belongs to something else in the realm",
    why="User names, e-mail addresses and client ids are unique in a realm, and Keycloak has names of its own: the "
    "import would fail for every tenant, or one account would be taken for another.",
    help="Choose another name.",
)
WEAKENED = Rule(
    code="STOA650",
    title="the realm is not hardened",
    why="Each of these settings stands against an attack on sign-in that is tried in the open every day.",
    help="This is a mistake of the compiler: please report it with the source that shows it.",
)
WRONG_ISSUER = Rule(
    code="STOA651",
    title="the issuer is not this realm",
    why="Keycloak writes the realm's URL into `iss`, and the runtime takes tokens of the declared issuer only: nobody "
    "could sign in.",
    help="End the issuer's URL with `/realms/` and the realm's name.",
)
UNDECLARED = Rule(
    code="STOA652",
    title="the realm holds something that nobody declared",
    why="Every account, group, client, mapper and setting gives someone something; only what was reviewed may.",
    help="This is a mistake of the compiler: please report it with the source that shows it.",
)
PLATFORM_ROLE = Rule(
    code="STOA653",
    title="a tenant holds a role of the platform",
    why="Roles of scope `platform` reach across tenants; only the platform's own people can hold them.",
    help="Use a role of scope `tenant`.",
)
NAME_REFUSED = Rule(
    code="STOA654",
    title="Keycloak refuses the person's name",
    why="It imports the name and then stops the person on the first sign-in, until they have changed it.",
    help='Write the name without control characters and any of `< > & " $ % ! # ? § ; * ~ / \\ | ^ = [ ] { } ( )`.',
)
UNMARKED = Rule(
    code="STOA655",
    title="an entry of the realm does not say who declared it",
    why="`stoa reconcile` changes only what is marked as ours: what is not marked could never be taken back.",
    help="This is a mistake of the compiler: please report it with the source that shows it.",
)
TOO_MANY_REALMS = Rule(
    code="STOA656",
    title="Keycloak is slow with so many realms",
    why="Each realm costs the server memory and time: with hundreds it takes minutes to start, and an import of one "
    "realm more than a minute.",
    help="Write `strategy: single-realm`, which keeps tenants apart by groups.",
    severity="warning",
)

TOO_OLD = Rule(
    code="STOA657",
    title="the server's version lacks what is declared",
    why="Keycloak 26.4 knows neither resource indicators nor client ids that are addresses of metadata documents: it "
    "would refuse the whole realm, or import it and do nothing of the kind.",
    help='Leave the feature out, or write `keycloak: "26.7"` and run that version.',
)
AT_ODDS = Rule(
    code="STOA658",
    title="keys of `identity` do not go together",
    why="A key that changes nothing looks as if it did.",
    help="Leave out one of the two.",
)
WRONG_ORGANIZATION = Rule(
    code="STOA659",
    title="an Organization differs from its tenant",
    why="Whoever is in an Organization may be invited, signed in and administered as one of that tenant's people.",
    help="This is a mistake of the compiler: please report it with the source that shows it.",
)

RULES = (
    UNREADABLE,
    WRONG_TOKEN,
    WRONG_CLIENT,
    ROLE_MISSING,
    OPEN_REDIRECT,
    SECRET,
    PLACEHOLDER,
    TOO_LONG,
    COLLISION,
    WEAKENED,
    WRONG_ISSUER,
    UNDECLARED,
    PLATFORM_ROLE,
    NAME_REFUSED,
    UNMARKED,
    TOO_MANY_REALMS,
    TOO_OLD,
    AT_ODDS,
    WRONG_ORGANIZATION,
)
