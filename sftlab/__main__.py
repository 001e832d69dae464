"""``python -m sftlab`` is the command ``sftlab``."""

import sys

from .cli import main

sys.exit(main())
