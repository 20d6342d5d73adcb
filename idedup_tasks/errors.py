"""The root of all errors of this package; the type says whether trying again can help.

Each is one sentence that names the thing, the value and the way out. A family whose members differ
in what a retry does, such as `WarehouseError`, derives from the root, its members from one of two.
"""


class IdedupError(Exception):
    """What this package found wrong and can say; whatever else is raised is a fault in it."""


class TerminalError(IdedupError):
    """A retry would only repeat it: somebody must mend a setting, a file or an installation."""


class TransientError(IdedupError):
    """A retry can help: it hangs on something that comes back, or on who came first."""
