"""The stages, in the order they are walked: ingest, prefilter, embed, index, group, report.

Each folder has `prepare` (what should change, and making it so), and its own parts.
"""
