"""The program ``python -m train.cam``."""

import sys

from .analysis.cam import main

if __name__ == "__main__":
    sys.exit(main())
