-- Two writers of one collection queue here; rows that refer to the collection may still be added.
SELECT name FROM collection WHERE name = :collection FOR NO KEY UPDATE;
