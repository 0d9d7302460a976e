-- The locks of one machine. Times are nanoseconds on its boot-time clock; look at them through `queue`.

CREATE TABLE meta (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    boot    TEXT    NOT NULL, -- which run of the machine all times in here belong to
    boots   TEXT    NOT NULL, -- the runs before it, oldest first, with blanks between
    token   INTEGER NOT NULL, -- the last fencing token given out
    ceiling INTEGER NOT NULL  -- flushed to the disk before a token up to it is given out
) STRICT;

CREATE TABLE claim (
    name        TEXT    NOT NULL,
    seq         INTEGER NOT NULL, -- the order of the queue
    id          BLOB    NOT NULL, -- 16 bytes
    peer        INTEGER NOT NULL, -- whose liveness file stands for its owner; 0 if none does
    capacity    INTEGER NOT NULL,
    weight      INTEGER NOT NULL,
    at_least_ns INTEGER NOT NULL,
    joined_ns   INTEGER NOT NULL,
    written_ns  INTEGER NOT NULL, -- when this row was written; what was left then is what it gets after a restart
    deadline_ns INTEGER NOT NULL,
    keep_ns     INTEGER NOT NULL, -- the end of its at-least hold
    token       INTEGER,          -- null while it waits
    revoked     INTEGER NOT NULL,
    owner       TEXT    NOT NULL,
    payload     TEXT,
    PRIMARY KEY (name, seq)
) STRICT, WITHOUT ROWID;

-- For people.
CREATE VIEW queue AS
SELECT name, seq, lower(hex(id)) AS id, owner, payload, weight || '/' || capacity AS weight, token,
       round(joined_ns / 1e9, 3) AS joined_at_uptime_s, round(deadline_ns / 1e9, 3) AS dies_at_uptime_s,
       revoked, printf('%016x', peer) AS peer
FROM claim ORDER BY name, seq;
