"""Tables of the store in its database."""

from __future__ import annotations

import sqlalchemy as sa

from protein_lab.store.database import Schema

METADATA = sa.MetaData()

ENTRIES = sa.Table(
    "protein_lab_entries",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("stored_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("read_at", sa.Double, nullable=False),
    # last, so that the columns before it are read without it
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Index("protein_lab_entries_expires", "expires_at"),
    # sizes are added up, and the oldest found, in the index alone
    sa.Index("protein_lab_entries_read", "read_at", "size"),
)
"""Copies of results. Times are seconds since 1970 by the clock of the database."""

RUNS = sa.Table(
    "protein_lab_runs",
    METADATA,
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("folded_name", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("accessed_at", sa.BigInteger, nullable=False),
    sa.Column("num_designs", sa.BigInteger, nullable=False),
    sa.Column("num_accepted", sa.BigInteger, nullable=False),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("operator", sa.Text, nullable=False),
    sa.Column("constraints", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("lifecycle", sa.Text, nullable=False),
    sa.Column("held", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("seal", sa.Text, nullable=False),
    sa.Index("protein_lab_runs_created", "created_at", "request_id"),
    sa.Index("protein_lab_runs_accessed", "accessed_at", "request_id"),
    sa.Index("protein_lab_runs_accepted", "num_accepted", "request_id"),
    sa.Index("protein_lab_runs_size", "size", "request_id"),
    sa.Index("protein_lab_runs_name", "folded_name", "request_id"),
    sa.Index("protein_lab_runs_operator", "operator", "created_at", "request_id"),
    sa.Index("protein_lab_runs_lifecycle", "lifecycle", "created_at", "request_id"),
)
"""One row a result; times are microseconds since 1970 in UTC, the seal is a digest of the row."""

RUN_CONSTRAINTS = sa.Table(
    "protein_lab_run_constraints",
    METADATA,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column(
        "request_id",
        sa.Text,
        sa.ForeignKey(RUNS.c.request_id, ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Index("protein_lab_run_constraints_request", "request_id"),
)
"""Kinds of constraints of each result, to find it by."""

PLACE = sa.Table("protein_lab_place", METADATA, sa.Column("uri", sa.Text, primary_key=True))
"""Where the results of this index are, in one row: an index never speaks for other results."""

STORE_SCHEMA = Schema(part="store", version=1, tables=METADATA)
