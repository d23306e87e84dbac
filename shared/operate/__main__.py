"""`python -m shared.operate`."""

import sys

from shared.operate.command import main

if __name__ == "__main__":
    sys.exit(main())
