DELETE FROM model WHERE collection = :collection AND model_id <> :model_id;
