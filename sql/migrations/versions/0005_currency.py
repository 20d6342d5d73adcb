"""The currency of the storage price.

Revision ID: 0005
Revises: 0004
"""

from pathlib import Path

from alembic import op

from idedup_tasks.warehouse import statements

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in statements(Path(__file__).with_suffix(".sql")):
        op.get_bind().exec_driver_sql(statement)
