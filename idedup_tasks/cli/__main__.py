"""`python -m idedup_tasks.cli`: the same as the command `idedup`."""

import sys

from idedup_tasks.cli import main

sys.exit(main())
