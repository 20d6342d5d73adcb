"""The tables of the warehouse.

Revision ID: 0001
Revises: nothing
"""

from pathlib import Path

from alembic import op

from idedup_tasks.warehouse import statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in statements(Path(__file__).with_suffix(".sql")):
        op.get_bind().exec_driver_sql(statement)
