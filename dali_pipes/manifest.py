"""The program ``python -m dali_pipes.manifest``."""

import sys

from .dataset.summary import main

if __name__ == "__main__":
    sys.exit(main())
