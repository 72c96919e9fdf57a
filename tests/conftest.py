"""What holds for every tier."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Tests never fail because a machine is slow: `make bench-deploy` measures times.
settings.register_profile("antmedia", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("antmedia")
