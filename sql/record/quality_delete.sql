DELETE FROM quality_result
WHERE collection = :collection AND run_id = :run_id AND stage = :stage;
