"""The program ``python -m dali_pipes.transcode``."""

import sys

from .dataset.transcode import main

if __name__ == "__main__":
    sys.exit(main())
