-- What benchmarks of descriptors measured; `age` is 1 for the newest of a data set, method and
-- measure.
CREATE VIEW benchmark_history AS
SELECT
    benchmark_id,
    created_at,
    dataset,
    method,
    model_id,
    measure,
    value,
    row_number() OVER (
        PARTITION BY dataset, method, measure ORDER BY created_at DESC, benchmark_id DESC
    ) AS age
FROM benchmark_result;
