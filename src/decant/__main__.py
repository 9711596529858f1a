"""`python -m decant` is the command `decant`."""

import sys

from decant.apps.cli import main

sys.exit(main())
