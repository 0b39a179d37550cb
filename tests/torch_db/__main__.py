"""`python -m tests.torch_db NAME...` prints what differs; without names a line for each operation.

`--missing` lists what is not there. Without names, counts are left in build/torch_ops.json.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

from tests import subset

os.environ[subset.VARIABLE] = subset.WHOLE
from tests.torch_db import ops
from tests.torch_db.known import KNOWN

names = [one for one in sys.argv[1:] if not one.startswith("-")]
if "--missing" in sys.argv:
    print(*sorted({op.name for op in ops.database() if ops.find(op) is None}))
    sys.exit()

total: Counter[str] = Counter()
present = wrong = right = 0
for op in ops.entries(*names):
    if ops.find(op) is None:
        print(f"{op.name}: not there")
        continue
    start = time.perf_counter()
    report = ops.check(op)
    seconds = time.perf_counter() - start
    present += 1
    right += report.right
    known = KNOWN.get(op.name, {})
    bad = Counter({kind: n for kind, n in report.counts.items() if kind != "refusals"})
    total += report.counts
    new = {kind: n for kind, n in bad.items() if kind not in known}
    wrong += bool(new)
    if names or new or seconds > 0.5:
        print(f"{report.name}: {report.right} right, {seconds:.2f} s, {dict(bad)}")
    for kind, text in report.failures if names else ():
        print(f"   {kind}{' (known)' if kind in known else ''}: {text}")
print(f"{present} operations, {right} samples right, {wrong} operations with failures, {total}")
if not names:
    counts = {"of": len(ops.database()), "there": present, "right": right, "wrong": wrong, **total}
    file = Path(__file__).parents[2] / "build" / "torch_ops.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(counts))
