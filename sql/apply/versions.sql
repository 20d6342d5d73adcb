SELECT versions_read FROM collection WHERE name = :collection;
