"""The pack as the engine starts it: each rule of `policy.rules` becomes one policy."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from pulumi_policy import PolicyPack

from policy.pack import as_policy
from policy.rules import RULES

PolicyPack("antmedia", [as_policy(rule) for rule in RULES])
