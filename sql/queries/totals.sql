SELECT * FROM collection_totals WHERE collection = :collection;
