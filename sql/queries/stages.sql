SELECT run_health.*, run.counts, run.versions_written
FROM run_health
INNER JOIN run
    ON
        run_health.collection = run.collection
        AND run_health.run_id = run.run_id
        AND run_health.stage = run.stage
WHERE run_health.collection = :collection AND run_health.run_id = :run_id
ORDER BY run_health.stage_number;
