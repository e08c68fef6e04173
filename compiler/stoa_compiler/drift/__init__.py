"""Drift: live systems beside a bundle, equal or not, and what differs. Nothing is changed anywhere.

A module for each kind of system: `realms`, `cluster`, `served`, `branch`. Each gives a `Compared`; `objects` compares
values, `forms` shows what was found.
"""
