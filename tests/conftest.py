"""What holds for every tier."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# Tests never fail because a machine is slow: `make bench-deploy` measures times.
settings.register_profile("antmedia", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("antmedia")

# Started in the background of a script, this process would ignore Ctrl-C, and so would every program the tests start:
# those that interrupt one would wait for its end instead.
signal.signal(signal.SIGINT, signal.default_int_handler)
