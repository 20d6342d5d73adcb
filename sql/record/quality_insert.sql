INSERT INTO quality_result (
    collection, run_id, stage, rule, severity, success, observed, expected, checked_at
)
VALUES (
    :collection, :run_id, :stage, :rule, :severity, :success, :observed, :expected, :checked_at
);
