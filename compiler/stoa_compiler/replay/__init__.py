"""Replay: recorded calls, decided again by another bundle.

`recorded` reads the audit log, `callers` finds who each subject is, `access` and `limits` decide as the runtime does,
and `comparison` tells what would come out otherwise. No clock has a part in it: the time of a call is the recorded one.
"""
