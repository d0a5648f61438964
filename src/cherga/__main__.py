"""``python -m cherga``: the command line."""

import sys

from cherga.cli import main

if __name__ == "__main__":
    sys.exit(main())
