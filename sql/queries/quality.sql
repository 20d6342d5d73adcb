SELECT *
FROM quality_over_time
WHERE collection = :collection AND run_id = :run_id
ORDER BY checked_at, stage, rule;
