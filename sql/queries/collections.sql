SELECT * FROM collection_totals ORDER BY collection;
