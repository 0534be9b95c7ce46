"""Lets ``python -m napari_aptdefect`` run the command line."""

from __future__ import annotations

import sys

from napari_aptdefect.cli import main

if __name__ == "__main__":
    sys.exit(main())
