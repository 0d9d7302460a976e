-- Rows of {table} are written only under a fencing token that is not stale. A connection declares its token by defining
-- the function leasehold_token(), which returns it; `leasehold_fence::sql::declare` does, and so does any binding, as in
--   connection.create_function("leasehold_token", 0, lambda: 34)
-- A connection without it gets "no such function: leasehold_token", and so does the `sqlite3` shell. What is not seen:
-- a holder's reads before its first write, unless it raises the mark itself; rows that INSERT OR REPLACE removes because of
-- another key than that of the new row, unless PRAGMA recursive_triggers is on; and whoever may drop the triggers. If the
-- lock is named after a number that SQLite gives, insert with the number: there is none yet when the trigger looks.
DROP TRIGGER IF EXISTS {trigger}_insert;
CREATE TRIGGER {trigger}_insert BEFORE INSERT ON {table} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'no fencing token: leasehold_token() is NULL') WHERE leasehold_token() IS NULL;
  SELECT RAISE(ABORT, 'the fencing token is stale') FROM {marks}
    WHERE name = {new_lock} AND max(exclusive_token, shared_token) > leasehold_token();
  INSERT INTO {marks} (name, exclusive_token) VALUES ({new_lock}, leasehold_token())
    ON CONFLICT (name) DO UPDATE SET exclusive_token = excluded.exclusive_token;
END;
DROP TRIGGER IF EXISTS {trigger}_update;
CREATE TRIGGER {trigger}_update BEFORE UPDATE ON {table} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'no fencing token: leasehold_token() is NULL') WHERE leasehold_token() IS NULL;
  SELECT RAISE(ABORT, 'the fencing token is stale') FROM {marks}
    WHERE name = {old_lock} AND max(exclusive_token, shared_token) > leasehold_token();
  INSERT INTO {marks} (name, exclusive_token) VALUES ({old_lock}, leasehold_token())
    ON CONFLICT (name) DO UPDATE SET exclusive_token = excluded.exclusive_token;
  SELECT RAISE(ABORT, 'the fencing token is stale') FROM {marks}
    WHERE name = {new_lock} AND max(exclusive_token, shared_token) > leasehold_token();
  INSERT INTO {marks} (name, exclusive_token) VALUES ({new_lock}, leasehold_token())
    ON CONFLICT (name) DO UPDATE SET exclusive_token = excluded.exclusive_token;
END;
DROP TRIGGER IF EXISTS {trigger}_delete;
CREATE TRIGGER {trigger}_delete BEFORE DELETE ON {table} FOR EACH ROW BEGIN
  SELECT RAISE(ABORT, 'no fencing token: leasehold_token() is NULL') WHERE leasehold_token() IS NULL;
  SELECT RAISE(ABORT, 'the fencing token is stale') FROM {marks}
    WHERE name = {old_lock} AND max(exclusive_token, shared_token) > leasehold_token();
  INSERT INTO {marks} (name, exclusive_token) VALUES ({old_lock}, leasehold_token())
    ON CONFLICT (name) DO UPDATE SET exclusive_token = excluded.exclusive_token;
END;
