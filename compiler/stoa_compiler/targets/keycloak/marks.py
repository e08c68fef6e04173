"""How a realm says which of its entries come from here. `stoa reconcile` changes nothing else.

Clients, client scopes, roles and groups carry the attribute `MARK`; its value is who declared them, a tenant's name or
`platform`. People carry the role `MARK` of the client `GATE`, since a realm's user profile takes no attributes but
those that it names.
"""

MARK = "stoa.managed"
GATE = "stoa.gateway"
"""A client that nobody signs in to: its roles say whose client scopes a person may use. No consumer's id can be
this one, since no tenant's name begins with `stoa`, and ids of the platform's clients hold no dot."""
MEMBERS = "stoa.members"
"""Group attribute: `declared` where Git decides who belongs to the group."""
BUILT_IN = ("account", "account-console")
"""Clients of Keycloak's own that are written too, because otherwise they are made without any client scopes, and a
person's account console answers 403. They carry no mark, and only the scopes that they lack are given to them."""
