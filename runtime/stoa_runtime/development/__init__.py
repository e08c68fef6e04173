"""What one machine needs besides the runtime: an issuer of tokens and backends that answer, for development only."""


class NotForDevelopment(Exception):
    """The bundle is not a development one, or its addresses lie beyond this machine."""
