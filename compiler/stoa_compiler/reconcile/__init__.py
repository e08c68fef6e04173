"""Reconcile: what a live system has, compared with what a bundle declares, and brought in line with it.

`compare` is a pure function from two states to changes; `plan` decides which of them may be made. Reading and writing
are `stoa_compiler.clients`'.
"""
