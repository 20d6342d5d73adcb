"""The margin within which a near duplicate is shown as uncertain.

Revision ID: 0003
Revises: 0002
"""

from pathlib import Path

from alembic import op

from idedup_tasks.warehouse import statements

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in statements(Path(__file__).with_suffix(".sql")):
        op.get_bind().exec_driver_sql(statement)
