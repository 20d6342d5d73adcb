SELECT * FROM duplicates_by_format WHERE collection = :collection ORDER BY format;
