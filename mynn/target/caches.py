"""Sizes of caches, as the system tells them."""

from __future__ import annotations

from pathlib import Path

# Where the system does not tell: bytes of the caches of most processors, or fewer.
USUAL_CACHES = (32 * 2**10, 512 * 2**10, 8 * 2**20)


def cache_sizes() -> tuple[int, ...]:
    """Bytes of each cache for data of this machine, the first level first."""
    found: dict[int, int] = {}
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    try:
        for index in sorted(folder.glob("index*")):
            if (index / "type").read_text().strip() != "Instruction":
                size = (index / "size").read_text().strip()
                found[int((index / "level").read_text())] = int(size.removesuffix("K")) * 2**10
    except (OSError, ValueError):
        found = {}
    return tuple(size for _, size in sorted(found.items())) or USUAL_CACHES
