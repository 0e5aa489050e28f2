"""`python -m logtrick`."""

import sys

from logtrick._variable_selection.command import main

if __name__ == "__main__":
    sys.exit(main())
