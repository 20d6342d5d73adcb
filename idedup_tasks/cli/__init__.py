"""The command line: `idedup scan`, `query`, `explain`, `preview`, `train` and others.

Errors are sentences on stderr; results go to stdout, progress to stderr. Exit codes: 0 done; 1
failed, or differences were found; 2 the same command would fail again as it is; 130 interrupted.
"""

from idedup_tasks.cli.program import app, main

__all__ = ["app", "main"]
