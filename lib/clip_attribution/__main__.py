"""`python -m clip_attribution`: the same as the command `clip-attribution`."""

import sys

from .cli import main

sys.exit(main())
