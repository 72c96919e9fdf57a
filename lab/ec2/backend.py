"""The door to moto: its settings, its lock and its backends. Import this before anything of moto.

moto reads its settings when it is imported and guards nothing against concurrent requests. So this module sets them,
and every request and every reader holds `LOCK`.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

from lab.ec2 import ACCOUNT, REGION

# The images of images.json instead of several hundred built in.
os.environ["MOTO_AMIS_PATH"] = str(Path(__file__).with_name("images.json"))
# AWS's own policies exist in every account; attaching one by its ARN fails without this.
os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
# As EC2 does: an unknown image, key pair or instance type is an error, not a machine.
os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"
os.environ["MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION"] = "true"

LOCK = threading.RLock()


def service(name: str, region: str = REGION) -> Any:
    """moto's backend of a service (`ec2`, `route53`, ...) in the lab's account; global services have region `aws`."""
    from moto.backends import get_backend

    return get_backend(name)[ACCOUNT][region]  # type: ignore[call-overload]


def is_loaded(name: str) -> bool:
    """Whether anything has used a service yet. Asking an unused one for its contents would load it, for nothing."""
    return f"moto.{name}.models" in sys.modules
