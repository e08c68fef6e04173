"""STOA v2: contracts and tenant bundles of the platform's earlier form, as documents of the language.

Every value of a file is carried over or stands in the account of it, with the reason.
"""

from stoa_compiler.stoa_v2.importer import Imported, import_stoa_v2
from stoa_compiler.stoa_v2.wishes import Wishes

__all__ = ["Imported", "Wishes", "import_stoa_v2"]
