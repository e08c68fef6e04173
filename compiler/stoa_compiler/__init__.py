"""The compiler: a folder of YAML in, one deterministic bundle per environment out."""

__version__ = "0.1.0"
