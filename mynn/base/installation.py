"""Whether somebody else's package of the same import name lies in the same folder."""

from __future__ import annotations

import os
import warnings

# PyPI has another package that is imported as `mynn`; this one is installed as `mynn-toolbox`.
_OTHERS = "mynn-"


def check(package: str) -> None:
    """Warn where both are installed in one folder, so that their files are mixed."""
    folder = os.path.dirname(package)
    try:
        found = [name for name in os.listdir(folder) if name.startswith(_OTHERS)]
    except OSError:  # it lies in an archive
        return
    if any(name.endswith((".dist-info", ".egg-info")) for name in found):
        warnings.warn(
            f"{folder} has the files of two distributions that are imported as mynn: this one, "
            "mynn-toolbox, and somebody else's, mynn. Changing one breaks the other; run: "
            "pip uninstall mynn mynn-toolbox, then: pip install mynn-toolbox",
            RuntimeWarning,
            stacklevel=3,
        )
