-- PostgreSQL plans by figures about the tables, and only their owner may take them: after a large
-- load the writer does so through this. `idedup db upgrade` grants it.
CREATE FUNCTION take_figures() RETURNS VOID
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
AS 'ANALYZE collection, image, duplicate_group, group_member, duplicate_pair';

REVOKE EXECUTE ON FUNCTION take_figures() FROM public;

COMMENT ON FUNCTION take_figures() IS 'Bring the figures that queries are planned by up to date';
