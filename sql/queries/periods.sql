SELECT * FROM duplicates_by_period WHERE collection = :collection ORDER BY arrival;
