-- Rows of {table} are written only under a fencing token that is not stale. A transaction declares its token with
--   SET LOCAL leasehold.token = '34';
-- To raise the mark before reading, as a new holder must: SELECT {trigger}_raise('the lock', 34);
-- A holder that has been overtaken gets SQLSTATE LH409, a writer without a token LH428. What is not seen: TRUNCATE, and
-- users who may disable triggers.
CREATE OR REPLACE FUNCTION {trigger}_raise(lock text, token bigint) RETURNS void LANGUAGE plpgsql AS $leasehold$
BEGIN
  INSERT INTO {marks} AS f (name, exclusive_token, shared_token) VALUES (lock, token, 0)
    ON CONFLICT (name) DO UPDATE SET exclusive_token = excluded.exclusive_token
    WHERE f.exclusive_token <= excluded.exclusive_token AND f.shared_token <= excluded.exclusive_token;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'token % is stale for the lock %', token, lock USING ERRCODE = 'LH409';
  END IF;
END $leasehold$;

CREATE OR REPLACE FUNCTION {trigger}() RETURNS trigger LANGUAGE plpgsql AS $leasehold$
DECLARE
  token bigint := nullif(current_setting('leasehold.token', true), '');
BEGIN
  IF token IS NULL THEN
    RAISE EXCEPTION 'no fencing token: SET LOCAL leasehold.token before writing to {table}' USING ERRCODE = 'LH428';
  END IF;
  IF TG_OP <> 'INSERT' THEN
    PERFORM {trigger}_raise({old_lock}, token);
  END IF;
  IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND {new_lock} <> {old_lock} THEN
    PERFORM {trigger}_raise({new_lock}, token);
  END IF;
  IF TG_OP = 'DELETE' THEN
    RETURN OLD;
  END IF;
  RETURN NEW;
END $leasehold$;

DROP TRIGGER IF EXISTS {trigger} ON {table};
CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE OR DELETE ON {table}
  FOR EACH ROW EXECUTE FUNCTION {trigger}();
