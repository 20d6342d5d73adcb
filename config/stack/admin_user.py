"""Write the password of Airflow's user `admin` where its auth manager reads it."""

from __future__ import annotations

import json
import os
from pathlib import Path

path = Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
path.parent.mkdir(parents=True, exist_ok=True)
partial = path.with_suffix(".partial")
partial.unlink(missing_ok=True)
with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
    json.dump({"admin": os.environ["AIRFLOW_ADMIN_PASSWORD"]}, stream)
partial.replace(path)
