"""`python -m mynn`: the command line."""

from __future__ import annotations

from mynn_command import main

if __name__ == "__main__":
    main()
