"""`python -m shared.crontab`."""

import sys

from shared.crontab.command import main

if __name__ == "__main__":
    sys.exit(main())
