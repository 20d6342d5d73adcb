-- The databases airflow, idedup and superset and the roles that use them, on a PostgreSQL server
-- (14 or later) of this project's own. Run by psql as the superuser, again at any time: passwords
-- are set anew.
--
--     psql postgresql://postgres@host/postgres -f sql/roles/create.sql
--
-- or put into /docker-entrypoint-initdb.d of the postgres image. The passwords are read from the
-- environment. What a role may do in the warehouse is granted by `idedup db upgrade`.
\set ON_ERROR_STOP on
\set owner ''
\set writer ''
\set bi ''
\set airflow ''
\set superset ''
\getenv owner IDEDUP_OWNER_PASSWORD
\getenv writer IDEDUP_WRITER_PASSWORD
\getenv bi IDEDUP_BI_PASSWORD
\getenv airflow AIRFLOW_DB_PASSWORD
\getenv superset SUPERSET_DB_PASSWORD

SELECT '' NOT IN (:'owner', :'writer', :'bi', :'airflow', :'superset') AS complete \gset
\if :complete
\else
DO $$ BEGIN RAISE EXCEPTION 'No role was created: set IDEDUP_OWNER_PASSWORD, IDEDUP_WRITER_PASSWORD, IDEDUP_BI_PASSWORD, AIRFLOW_DB_PASSWORD and SUPERSET_DB_PASSWORD'; END $$;
\endif

-- Statements with passwords stay out of the server's log.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';

SELECT format('CREATE ROLE %I', wanted.name)
FROM (
    VALUES ('idedup_owner'), ('idedup_writer'), ('idedup_bi'), ('airflow'), ('superset')
) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.name) \gexec

ALTER ROLE idedup_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'owner';
ALTER ROLE idedup_writer LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'writer';
ALTER ROLE idedup_bi LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'bi';
ALTER ROLE airflow LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'airflow';
ALTER ROLE superset LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'superset';

SELECT format('CREATE DATABASE %I OWNER %I ENCODING ''UTF8'' TEMPLATE template0', name, owner)
FROM (
    VALUES ('idedup', 'idedup_owner'), ('airflow', 'airflow'), ('superset', 'superset')
) AS wanted (name, owner)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = wanted.name) \gexec

-- Nobody enters a database that is not theirs. The writer stages rows in a temporary table.
REVOKE ALL ON DATABASE idedup, airflow, superset FROM public;
GRANT CONNECT, TEMPORARY ON DATABASE idedup TO idedup_writer;
GRANT CONNECT ON DATABASE idedup TO idedup_bi;

-- Views group a million rows and more: in the 4 MB that are the default, by sorting on disk.
ALTER ROLE idedup_writer IN DATABASE idedup SET work_mem = '64MB';
ALTER ROLE idedup_bi IN DATABASE idedup SET work_mem = '64MB';

-- Up to PostgreSQL 14 everybody could create tables in the schema `public`.
\connect idedup
ALTER SCHEMA public OWNER TO idedup_owner;
REVOKE CREATE ON SCHEMA public FROM public;
GRANT USAGE ON SCHEMA public TO public;
\connect airflow
ALTER SCHEMA public OWNER TO airflow;
REVOKE CREATE ON SCHEMA public FROM public;
\connect superset
ALTER SCHEMA public OWNER TO superset;
REVOKE CREATE ON SCHEMA public FROM public;
