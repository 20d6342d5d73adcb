INSERT INTO benchmark_result (
    benchmark_id, created_at, dataset, method, model_id, measure, value
)
VALUES (:benchmark_id, :created_at, :dataset, :method, :model_id, :measure, :value);
