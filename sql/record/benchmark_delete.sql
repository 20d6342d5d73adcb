DELETE FROM benchmark_result WHERE benchmark_id = :benchmark_id;
