SELECT count(*) FROM duplicate_pair WHERE collection = :collection;
