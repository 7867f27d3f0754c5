"""``python -m bayesnn``: the command line."""

import sys

from bayesnn.cli import main

if __name__ == "__main__":
    sys.exit(main())
