"""The runtime: it serves a compiled bundle over MCP, and nothing that the bundle does not allow."""
