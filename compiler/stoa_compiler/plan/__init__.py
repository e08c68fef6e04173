"""The plan: what a change of the source does, compared by meaning and not by text."""
