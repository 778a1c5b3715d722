"""``python -m sklearn_ncti``, the same as the command ``sklearn-ncti``."""

import sys

from ._cli import main

if __name__ == "__main__":
    sys.exit(main())
