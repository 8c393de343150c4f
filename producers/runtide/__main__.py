"""`python -m runtide` is the command `runtide`."""

import sys

from runtide._cli import main

sys.exit(main())
