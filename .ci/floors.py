#!/usr/bin/env python3
"""Holds a test run against the floors that may only rise: cases of other projects passed, real parts, coverage.

usage: floors.py TESTS.log COVERAGE.json
"""

import json
import os
import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main() -> int:
    log = pathlib.Path(sys.argv[1]).read_text(errors="replace")
    coverage = json.loads(pathlib.Path(sys.argv[2]).read_text())
    floors = tomllib.loads((ROOT / "conformance/floors.toml").read_text())
    wrong = []

    passed = {}
    for name, count, of in re.findall(r"^conformance: (\S+) passed (\d+) of (\d+)", log, re.M):
        passed[name] = (int(count), int(of))
    # `.ci/run` found none of the data of other projects, which is not part of this repository, and said so.
    absent = os.environ.get("DIHYA_CONFORMANCE") == "absent"
    for name, floor in ({} if absent else floors["cases"]).items():
        count, of = passed.get(name, (0, 0))
        print(f"conformance {name}: {count} of {of} (floor {floor})")
        if count < floor:
            wrong.append(f"{name} passed {count}, floor {floor}")
    for name in sorted(set(passed) - set(floors["cases"])):
        wrong.append(f"{name} has no floor in conformance/floors.toml")

    parts = tomllib.loads((ROOT / "testdata/real-parts.toml").read_text())
    wanted = {name for name, part in parts.items() if isinstance(part, dict) and "substitute_reason" not in part}
    started = set(re.findall(r"^real part: (\S+)", log, re.M))
    print(f"real parts: {len(started)} started")
    for name in sorted(wanted - started):
        wrong.append(f"real part {name} of testdata/real-parts.toml was not started")

    lines = coverage["data"][0]["totals"]["lines"]["percent"]
    floor = floors["coverage"]["lines_percent"]
    print(f"line coverage: {lines:.2f} % (floor {floor} %)")
    for entry in sorted(coverage["data"][0]["files"], key=lambda f: f["summary"]["lines"]["percent"])[:10]:
        summary = entry["summary"]["lines"]
        name = entry["filename"].split("/crates/")[-1]
        print(f"  {summary['percent']:6.2f} %  {summary['count'] - summary['covered']:5d} missed  {name}")
    if lines < floor:
        wrong.append(f"line coverage {lines:.2f} %, floor {floor} %")

    for problem in wrong:
        print(f"below floor: {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
