"""The program ``python -m train.tables``."""

import sys

from .paper.tables import main

if __name__ == "__main__":
    sys.exit(main())
