-- What benchmarks measured, the newest first.
SELECT benchmark_id, created_at, dataset, method, model_id, measure, value
FROM benchmark_result
ORDER BY created_at DESC, benchmark_id, method, measure;
