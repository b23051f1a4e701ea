"""The program ``python -m train.localisation``."""

import sys

from .analysis.localisation import main

if __name__ == "__main__":
    sys.exit(main())
