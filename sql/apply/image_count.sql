SELECT count(*) FROM image WHERE collection = :collection;
