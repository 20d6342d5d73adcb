"""`python -m idedup_tasks.quickstart`: what `make run` starts."""

import sys

from idedup_tasks.quickstart import main

sys.exit(main())
