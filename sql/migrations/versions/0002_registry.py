"""Registered descriptors and benchmark results.

Revision ID: 0002
Revises: 0001
"""

from pathlib import Path

from alembic import op

from idedup_tasks.warehouse import statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in statements(Path(__file__).with_suffix(".sql")):
        op.get_bind().exec_driver_sql(statement)
