"""Calls to the own machine never go through a proxy that the environment names."""

DIRECT = {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}
"""The argument `mounts` of HTTPX's clients."""
