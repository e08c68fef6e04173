"""Verify: a bundle judged by its own files, without the source and without what wrote them.

The artifacts are read back as their consumers read them. What each says of the same thing is rebuilt and compared:
who may call which tool, what a token says to whom, which namespace reaches which.
"""
