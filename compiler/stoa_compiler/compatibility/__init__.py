"""Breaking changes: what an old caller loses by a change, judged by the direction of data."""
