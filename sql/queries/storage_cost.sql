SELECT * FROM storage_cost WHERE collection = :collection ORDER BY relation;
