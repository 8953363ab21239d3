"""`python -m awaken` is the command `awaken`."""

import sys

from awaken.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
