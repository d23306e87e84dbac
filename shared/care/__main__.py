"""`python -m shared.care`."""

import sys

from shared.care.command import main

if __name__ == "__main__":
    sys.exit(main())
