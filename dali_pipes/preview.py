"""The program ``python -m dali_pipes.preview``."""

import sys

from .pictures.preview import main

if __name__ == "__main__":
    sys.exit(main())
