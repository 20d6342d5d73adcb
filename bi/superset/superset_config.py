"""Superset's settings for the dashboard; all that differs between installations is environment."""

import os

SECRET_KEY = os.environ["SUPERSET_SECRET_KEY"]
# Superset's own metadata: its database `superset`, or SQLite to try it out.
SQLALCHEMY_DATABASE_URI = os.environ["SUPERSET_DATABASE"]
# What pages show is as old as this many seconds at most.
CACHE_DEFAULT_TIMEOUT = 300
WTF_CSRF_ENABLED = True
TALISMAN_ENABLED = True
ROW_LIMIT = 10_000
# Nobody uploads into the warehouse, and nobody is let in without a password.
PUBLIC_ROLE_LIKE = None
