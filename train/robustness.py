"""The program ``python -m train.robustness``."""

import sys

from .analysis.robustness import main

if __name__ == "__main__":
    sys.exit(main())
