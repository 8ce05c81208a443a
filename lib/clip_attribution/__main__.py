"""`python -m clip_attribution`: the same as the command `clip-attribution`."""

import sys

from clip_attribution.cli import main

sys.exit(main())
