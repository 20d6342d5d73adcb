UPDATE run
SET state = 'published', published_at = :published_at, versions_written = :versions_written
WHERE collection = :collection AND run_id = :run_id AND stage = :stage;
