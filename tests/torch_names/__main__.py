"""`python -m tests.torch_names`: names that are neither there nor left out with a reason.

With `--write` they become the list of names that are not there yet.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from tests.torch_names.names import PLACES, compare, stale

lines = []
for place in PLACES:
    found = compare(place)
    missing = sorted([*found.unknown, *found.left_out.get("not there yet", ())])
    out = sum(map(len, found.left_out.values()))
    print(f"torch.{place}: {len(found.there)} there, {out} left out, {len(found.unknown)} unknown")
    print(*found.unknown)
    if stale(place):
        print("  patterns that are needed no more:", *stale(place))
    if missing:
        rows = textwrap.wrap(" ".join(missing), 88)
        lines += [f'    "{place}": (', *(f'        "{row} "' for row in rows), "    ),"]
if "--write" in sys.argv:
    file = Path(__file__).with_name("not_yet.py")
    head = file.read_text().partition("NOT_YET:")[0]
    file.write_text("\n".join([head + "NOT_YET: dict[str, str] = {", *lines, "}\n"]))
