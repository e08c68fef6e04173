"""The access matrix: who may call which tool, read from the table that the runtime enforces, and why."""

from stoa_compiler.matrix.build import of_graph
from stoa_compiler.matrix.model import Cut, Holder, Kind, Matrix, Tool

__all__ = ["Cut", "Holder", "Kind", "Matrix", "Tool", "of_graph"]
