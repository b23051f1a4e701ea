"""The program ``python -m train.preview``."""

import sys

from .analysis.mix_preview import main

if __name__ == "__main__":
    sys.exit(main())
