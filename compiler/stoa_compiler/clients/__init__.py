"""Outside systems, one module each."""
