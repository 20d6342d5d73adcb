SELECT * FROM group_sizes WHERE collection = :collection ORDER BY size, relation;
