"""How long tests wait for what should come. None fails because a machine is slow; `make bench` measures times."""

PATIENCE = 300.0
"""Seconds for what takes moments: it ends a test that hangs, and no other."""

BUSY = 5
"""How many times longer than alone on a machine something may take while other tests run."""
