-- What the roles of `create.sql` may do in the warehouse; `idedup db upgrade` runs it where they are.
-- The writer changes rows and nothing else. BI reads views, which read the tables by the right of
-- their owner.
GRANT SELECT ON alembic_version TO idedup_writer;

GRANT SELECT, INSERT, UPDATE, DELETE ON
collection, model, run, image, duplicate_group, group_member, duplicate_pair, quality_result,
benchmark_result
TO idedup_writer;

GRANT SELECT ON
image_state, duplicate_counts, duplicates_by_period, duplicates_by_format, duplicates_by_prefix,
group_profile, group_sizes, top_groups, member_evidence, alike_pairs, rejects_by_reason,
collection_totals, storage_cost, run_health, quality_over_time, quality_open, run_summary,
rejects_by_run, benchmark_history
TO idedup_writer, idedup_bi;

GRANT EXECUTE ON FUNCTION take_figures() TO idedup_writer;
