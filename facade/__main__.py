"""`python -m facade` is the command `facade`."""

from __future__ import annotations

import sys

from facade.cli import main

if __name__ == "__main__":
    sys.exit(main())
