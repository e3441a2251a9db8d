"""``python -m anabranch`` is the command line, for where no script was installed."""

import sys

from anabranch.cli import main

if __name__ == "__main__":
    sys.exit(main())
