-- Whether this server has the roles of `create.sql` that the owner of the warehouse grants something.
SELECT count(*) = 2 FROM pg_roles WHERE rolname IN ('idedup_writer', 'idedup_bi');
