"""`make bench-deploy`: how long deployments take: into a real lab, of different sizes, and against terraform's.

The three parts can be run alone: `lab`; `changes`, first creations and rolls; `nodes`, against terraform. A figure of a
part that was not run is kept as it was. Figures go to build/bench-deploy.json, every run to
build/bench-deploy-runs.json, and with --write a table for each part to docs/benchmarks.md. Where terraform or its AWS
provider is missing, what is measured against it is left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
from datetime import date
from pathlib import Path
from typing import Any, Final

from tools import bench
from tools.bench import changes, lab_rounds, nodes

BUILD: Final = Path(__file__).resolve().parent.parent / "build"
LAB, CHANGES, NODES = "lab", "changes", "nodes"


def main() -> int:
    """Measure, print, and keep."""
    arguments = _arguments()
    figures: dict[str, float] = {}
    runs: dict[str, Any] = {}
    if arguments.only in (None, LAB):
        rounds = []
        for number in range(1, arguments.rounds + 1):
            print(f"round {number} of {arguments.rounds}", flush=True)
            rounds.append(lab_rounds.measure())
        figures |= lab_rounds.flat(rounds)
        runs[LAB] = [dataclasses.asdict(each) for each in rounds]
        _show(LAB, f"{len(rounds)} rounds, ratios are of the same round", lab_rounds.table(rounds), arguments.write)
    if arguments.only in (None, CHANGES):
        changed = changes.measure(rounds=arguments.rounds)
        figures |= changes.flat(changed)
        runs[CHANGES] = dataclasses.asdict(changed)
        _show(CHANGES, changes.MEANING, changes.table(changed), arguments.write)
    if arguments.only in (None, NODES):
        measured = nodes.measure(pairs=arguments.pairs, plugins=arguments.terraform_plugins)
        figures |= nodes.flat(measured)
        runs[NODES] = dataclasses.asdict(measured)
        _show(NODES, nodes.MEANING, nodes.table(measured), arguments.write)
    _keep("bench-deploy-runs.json", runs)
    _keep("bench-deploy.json", figures)
    print("\nbuild/bench-deploy.json; every run: build/bench-deploy-runs.json")
    return 0


def _keep(name: str, new: dict[str, Any]) -> None:
    """Under build/, beside what other parts have left there."""
    BUILD.mkdir(exist_ok=True)
    file = BUILD / name
    old = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**old, **new}, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-deploy", description=__doc__)
    parser.add_argument("--only", choices=(LAB, CHANGES, NODES), help="one of the parts (all)")
    parser.add_argument("--rounds", type=int, default=3, help="labs; first creations and rolls of each size (3)")
    parser.add_argument("--pairs", type=int, default=6, help="previews and plans of 100 nodes; fewer of less nodes (6)")
    parser.add_argument("--terraform-plugins", type=Path, metavar="DIR", help="where terraform finds its AWS provider")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    return parser.parse_args()


def _show(part: str, meaning: str, table: str, write: bool) -> None:
    print(f"\n{table}", flush=True)
    if write:
        machine = f"{os.cpu_count()} processors, {platform.freedesktop_os_release()['PRETTY_NAME']}, {date.today()}"
        text = f"Absolute times are of one machine ({machine}, warm caches); {meaning}.\n\n{table}"
        bench.write_section(f"bench-deploy ARGS='--only {part}'", text)


if __name__ == "__main__":
    sys.exit(main())
