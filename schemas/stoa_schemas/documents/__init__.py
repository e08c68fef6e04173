"""The six kinds of document, one module each."""

from stoa_schemas.documents.consumer import Consumer
from stoa_schemas.documents.contract import UniversalAPIContract
from stoa_schemas.documents.plan import Plan
from stoa_schemas.documents.platform import Platform
from stoa_schemas.documents.subscription import Subscription
from stoa_schemas.documents.tenant import Tenant

AnyDocument = Platform | Tenant | UniversalAPIContract | Consumer | Plan | Subscription

KINDS: dict[str, type[AnyDocument]] = {
    "Platform": Platform,
    "Tenant": Tenant,
    "UniversalAPIContract": UniversalAPIContract,
    "Consumer": Consumer,
    "Plan": Plan,
    "Subscription": Subscription,
}

__all__ = [
    "KINDS",
    "AnyDocument",
    "Consumer",
    "Plan",
    "Platform",
    "Subscription",
    "Tenant",
    "UniversalAPIContract",
]
