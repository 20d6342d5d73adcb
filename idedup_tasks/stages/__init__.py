"""The stages, in the order they are walked: ingest, prefilter, embed, index, group, report.

Each folder has `prepare` (what should change, and making it so), `counts` (what it counted),
`rules` (what its gate wants), `facts` (what the lake says of it), and its own parts.
"""
