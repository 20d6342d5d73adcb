INSERT INTO run (
    collection, run_id, stage, state, tries, window_start, window_end, started_at, seconds,
    rows_in, rows_out, images, images_per_second, counts, warnings, versions_read, error
)
VALUES (
    :collection, :run_id, :stage, :state, 1, :window_start, :window_end, :started_at, :seconds,
    :rows_in, :rows_out, :images, :images_per_second, :counts, :warnings, :versions_read, :error
)
ON CONFLICT (collection, run_id, stage) DO UPDATE SET
    state = excluded.state,
    tries = run.tries + 1,
    window_start = excluded.window_start,
    window_end = excluded.window_end,
    started_at = excluded.started_at,
    seconds = excluded.seconds,
    rows_in = excluded.rows_in,
    rows_out = excluded.rows_out,
    images = excluded.images,
    images_per_second = excluded.images_per_second,
    counts = excluded.counts,
    warnings = excluded.warnings,
    versions_read = excluded.versions_read,
    versions_written = NULL,
    published_at = NULL,
    error = excluded.error;
