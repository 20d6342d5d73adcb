SELECT count(*) FROM duplicate_group WHERE collection = :collection;
