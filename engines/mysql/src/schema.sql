-- The locks of leasehold in MySQL and MariaDB, version 1: for the command line client, which knows DELIMITER, in the
-- database of the locks. A user who locks needs no more than this:
--   GRANT SELECT, INSERT, UPDATE, DELETE ON distributed_locks TO USER;
--   GRANT SELECT, INSERT, UPDATE, DELETE ON leasehold_claim TO USER;
--   GRANT SELECT, INSERT, DELETE ON leasehold_note TO USER;
--   GRANT SELECT ON leasehold_schema TO USER;
--   GRANT EXECUTE ON PROCEDURE leasehold_work TO USER;
--   GRANT EXECUTE ON PROCEDURE leasehold_lock TO USER;
--   GRANT EXECUTE ON PROCEDURE leasehold_unlock TO USER;
--   GRANT EXECUTE ON PROCEDURE leasehold_renew TO USER;
--   GRANT EXECUTE ON PROCEDURE leasehold_hear TO USER;
DELIMITER ;;
SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'
;;
-- Who holds what, in the shape of the common recipe: clients that INSERT IGNORE, DELETE their own row and delete rows
-- that have expired exclude leasehold and are excluded by it. While a claim of leasehold holds, the owner is
-- `leasehold:` and its id; while readers or permits do, `leasehold:shared`. Names are bytes, for text compares as its
-- collation has it: without regard to case, to accents, to spaces at the end.
CREATE TABLE IF NOT EXISTS distributed_locks (
    lock_name  VARBINARY(255) NOT NULL PRIMARY KEY,
    owner_id   VARCHAR(255)   NOT NULL,
    expires_at TIMESTAMP(6)   NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    created_at TIMESTAMP(6)   NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
;;
-- Who holds and who waits. Times and spans are in microseconds, and times since 1970.
CREATE TABLE IF NOT EXISTS leasehold_claim (
    name       VARBINARY(255) NOT NULL,
    seq        BIGINT         NOT NULL AUTO_INCREMENT, -- the order of the queue, and the fencing token
    id         BINARY(16)     NOT NULL,
    peer       BINARY(16)     NOT NULL, -- which client's engine is to be told that it holds; even if it does not listen
    capacity   INT            NOT NULL,
    weight     INT            NOT NULL,
    ttl        BIGINT         NOT NULL, -- the longest that was asked for
    at_least   BIGINT         NOT NULL,
    joined     BIGINT         NOT NULL,
    deadline   BIGINT         NOT NULL,
    keep_until BIGINT         NOT NULL, -- the end of its at-least hold
    held       BOOLEAN        NOT NULL,
    revoked    BOOLEAN        NOT NULL,
    owner      TEXT           NOT NULL,
    payload    TEXT,
    PRIMARY KEY (name, seq),
    KEY (seq)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
;;
-- Hand-overs that an engine is to hear of.
CREATE TABLE IF NOT EXISTS leasehold_note (
    peer    BINARY(16) NOT NULL,
    token   BIGINT     NOT NULL,
    id      BINARY(16) NOT NULL,
    written BIGINT     NOT NULL,
    PRIMARY KEY (peer, token)
) ENGINE = InnoDB
;;
-- Does what a caller asks of one claim, in the caller's transaction. See docs.md for the rest.
--
-- The row of distributed_locks is locked first; whoever has it may change the queue of that name. One that somebody
-- else has in hand is skipped and told as 'busy', or waited for.
CREATE PROCEDURE leasehold_work(
    verb         VARCHAR(8), -- join, refresh, release, revoke, evict
    patience     VARCHAR(4), -- skip, wait, or same: what became of the call before, for the same name
    asker        BINARY(16), -- the peer
    wanted       VARBINARY(255),
    claim        BINARY(16),
    for_ttl      BIGINT,
    -- Only to join:
    of_capacity  INT,
    of_weight    INT,
    for_at_least BIGINT,
    by_owner     TEXT CHARACTER SET utf8mb4,
    with_payload TEXT CHARACTER SET utf8mb4
)
MODIFIES SQL DATA
SQL SECURITY INVOKER
work: BEGIN
    DECLARE waiting_ttl BIGINT DEFAULT 5000000;
    DECLARE queue_max INT DEFAULT 10000;
    DECLARE shared VARCHAR(16) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT 'leasehold:shared';
    DECLARE received BIGINT DEFAULT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED);
    DECLARE until BIGINT;
    DECLARE at BIGINT;
    -- The row: what stood there before.
    DECLARE there BOOLEAN DEFAULT verb <> 'join'; -- who joins mostly finds none
    DECLARE fresh BOOLEAN DEFAULT FALSE;
    DECLARE old_owner VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
    DECLARE old_end BIGINT DEFAULT 0;
    -- The queue.
    DECLARE standing, dead, far, holding, waiting, current, known, died INT DEFAULT 0;
    DECLARE blocked, calm BOOLEAN DEFAULT FALSE; -- by somebody else's row; the row says already what it has to
    DECLARE taken BIGINT DEFAULT 0;
    DECLARE head_seq, head_at_least BIGINT;
    DECLARE head_weight, head_capacity INT;
    DECLARE head_id, head_peer BINARY(16);
    DECLARE heirs TEXT CHARACTER SET utf8mb4 DEFAULT '';
    -- What the row is to say.
    DECLARE new_owner VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
    DECLARE new_end BIGINT;
    -- The answer.
    DECLARE kind VARCHAR(8) DEFAULT 'gone';
    DECLARE number, my_seq BIGINT;
    DECLARE first_end BIGINT;
    DECLARE my_hold, my_end BOOLEAN;

    IF patience <> 'same' THEN
        SET @leasehold_busy = FALSE;
    ELSEIF @leasehold_busy THEN
        SELECT 'busy', NULL, NULL, NULL;
        LEAVE work;
    END IF;
    SET until = received + GREATEST(for_ttl, for_at_least);
    locking: LOOP
        IF NOT there THEN
            SELECT COUNT(*) INTO there FROM distributed_locks WHERE lock_name = wanted;
        END IF;
        IF there THEN
            IF patience = 'wait' THEN
                SELECT owner_id, CAST(UNIX_TIMESTAMP(expires_at) * 1000000 AS SIGNED) INTO old_owner, old_end
                  FROM distributed_locks WHERE lock_name = wanted FOR UPDATE;
            ELSE
                SELECT owner_id, CAST(UNIX_TIMESTAMP(expires_at) * 1000000 AS SIGNED) INTO old_owner, old_end
                  FROM distributed_locks WHERE lock_name = wanted FOR UPDATE SKIP LOCKED;
            END IF;
            IF old_owner IS NOT NULL THEN
                LEAVE locking;
            END IF;
            SELECT COUNT(*) INTO there FROM distributed_locks WHERE lock_name = wanted;
            IF there AND patience <> 'wait' THEN
                SET @leasehold_busy = TRUE;
                SELECT 'busy', NULL, NULL, NULL;
                LEAVE work;
            END IF;
        END IF;
        IF NOT there THEN
            IF verb <> 'join' AND NOT EXISTS (SELECT 1 FROM leasehold_claim WHERE name = wanted) THEN
                SELECT 'gone', NULL, NULL, NULL;
                LEAVE work;
            END IF;
            -- As the row of who joins, which is mostly right.
            INSERT INTO distributed_locks (lock_name, owner_id, expires_at, created_at)
            VALUES (wanted,
                    CASE WHEN verb <> 'join' THEN '' WHEN of_weight = of_capacity THEN CONCAT('leasehold:', LOWER(HEX(claim)))
                         ELSE shared END,
                    FROM_UNIXTIME(IF(verb = 'join', until, 1000000) * 0.000001), FROM_UNIXTIME(received * 0.000001))
                ON DUPLICATE KEY UPDATE owner_id = owner_id;
            IF ROW_COUNT() = 1 THEN
                SET fresh = TRUE;
                LEAVE locking;
            END IF;
            SET there = TRUE;
        END IF;
    END LOOP;
    -- Whoever had the row before has seen an earlier time.
    SET at = CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED);

    -- Looks who is dead: who has not renewed, and who held a row that is now gone or another's. A deadline farther off
    -- than its owner can have asked for is from before the clock was set back.
    SELECT COUNT(*), COALESCE(SUM(gone), 0), COALESCE(SUM(NOT gone AND deadline > at + GREATEST(ttl, at_least)), 0),
           COALESCE(SUM(NOT gone AND held), 0), MIN(IF(gone, NULL, capacity)), COALESCE(SUM(NOT gone AND id = claim), 0),
           COALESCE(SUM(gone AND id = claim), 0)
      INTO standing, dead, far, holding, current, known, died
      FROM (SELECT id, ttl, at_least, deadline, capacity, held,
                   deadline <= at OR held AND NOT (old_owner <=> shared)
                                          AND NOT (old_owner <=> CONCAT('leasehold:', LOWER(HEX(id)))) AS gone
              FROM leasehold_claim WHERE name = wanted) c;
    SET standing = standing - dead;
    SET blocked = old_end > at AND holding = 0;
    IF dead > 0 THEN
        DELETE FROM leasehold_claim
         WHERE name = wanted AND (deadline <= at OR held AND NOT (old_owner <=> shared)
                                                        AND NOT (old_owner <=> CONCAT('leasehold:', LOWER(HEX(id)))));
    END IF;
    IF far > 0 THEN
        UPDATE leasehold_claim
           SET deadline = LEAST(deadline, at + GREATEST(ttl, at_least)), keep_until = LEAST(keep_until, at + at_least)
         WHERE name = wanted AND deadline > at + GREATEST(ttl, at_least);
    END IF;

    IF verb = 'join' THEN
        IF died THEN
            SET known = 0;
        ELSEIF known THEN
            SET known = 1;
        ELSEIF standing > 0 AND current <> of_capacity THEN
            SET kind = 'capacity', number = current;
        ELSEIF standing >= queue_max THEN
            SET kind = 'full';
        ELSE
            -- Who joins an empty queue with a row of its own holds at once, until the time that the row says.
            SET calm = fresh AND standing = 0;
            INSERT INTO leasehold_claim (name, id, peer, capacity, weight, ttl, at_least, joined, deadline, keep_until, held,
                                         revoked, owner, payload)
            VALUES (wanted, claim, asker, of_capacity, of_weight, for_ttl, for_at_least, at,
                    IF(calm, until, at + LEAST(for_ttl, waiting_ttl)),
                    IF(calm AND for_at_least > 0, received + for_at_least, 0), calm, FALSE, by_owner, with_payload);
            SET standing = standing + 1;
            IF calm THEN
                SELECT 'held', LAST_INSERT_ID(), NULL, '';
                LEAVE work;
            END IF;
            SET known = 1;
        END IF;
    ELSEIF verb <> 'refresh' AND known THEN
        DELETE FROM leasehold_claim
         WHERE name = wanted AND id = claim AND NOT (held AND (verb = 'revoke' OR verb = 'release' AND keep_until > at));
        IF ROW_COUNT() = 1 THEN
            SET standing = standing - 1;
        ELSE
            UPDATE leasehold_claim SET revoked = TRUE, deadline = IF(verb = 'release', keep_until, deadline)
             WHERE name = wanted AND id = claim;
        END IF;
        SET known = 0;
    END IF;

    -- Lets in whoever fits.
    IF standing > 0 AND NOT blocked THEN
        SELECT COALESCE(SUM(IF(held, weight, 0)), 0), SUM(NOT held) INTO taken, waiting FROM leasehold_claim WHERE name = wanted;
        WHILE waiting > 0 DO
            SELECT seq, id, peer, weight, capacity, at_least
              INTO head_seq, head_id, head_peer, head_weight, head_capacity, head_at_least
              FROM leasehold_claim WHERE name = wanted AND NOT held ORDER BY seq LIMIT 1;
            IF taken + head_weight > head_capacity THEN
                SET waiting = 0;
            ELSE
                UPDATE leasehold_claim
                   SET held = TRUE, keep_until = IF(at_least > 0, at + at_least, keep_until),
                       deadline = IF(at_least > 0, GREATEST(deadline, at + at_least), deadline)
                 WHERE name = wanted AND seq = head_seq;
                SET taken = taken + head_weight, waiting = waiting - 1;
                IF head_id = claim THEN
                    BEGIN END;
                ELSEIF head_peer = asker THEN
                    SET heirs = CONCAT(heirs, LOWER(HEX(head_id)), ':', head_seq, ' ');
                ELSEIF ORD(SUBSTRING(head_peer, 16)) & 1 THEN
                    INSERT INTO leasehold_note (peer, token, id, written) VALUES (head_peer, head_seq, head_id, at);
                END IF;
            END IF;
        END WHILE;
    END IF;

    IF known THEN
        UPDATE leasehold_claim
           SET deadline = GREATEST(deadline, at + IF(held, for_ttl, LEAST(for_ttl, waiting_ttl))), ttl = GREATEST(ttl, for_ttl)
         WHERE name = wanted AND id = claim AND NOT revoked;
    END IF;

    -- Writes into the row who holds now.
    IF NOT blocked THEN
        IF standing > 0 THEN
            SELECT IF(MAX(weight = capacity), CONCAT('leasehold:', LOWER(HEX(MIN(id)))), shared), MAX(deadline)
              INTO new_owner, new_end FROM leasehold_claim WHERE name = wanted AND held;
        END IF;
        IF new_end IS NULL THEN
            DELETE FROM distributed_locks WHERE lock_name = wanted;
        ELSEIF fresh OR new_owner <> old_owner OR new_end <> old_end THEN
            UPDATE distributed_locks
               SET created_at = IF(owner_id = new_owner, created_at, FROM_UNIXTIME(at * 0.000001)),
                   owner_id = new_owner, expires_at = FROM_UNIXTIME(new_end * 0.000001)
             WHERE lock_name = wanted;
        END IF;
    END IF;

    IF known THEN
        SELECT seq, held, revoked INTO my_seq, my_hold, my_end FROM leasehold_claim WHERE name = wanted AND id = claim;
        IF my_seq IS NULL OR my_end THEN
            BEGIN END;
        ELSEIF my_hold THEN
            SET kind = 'held', number = my_seq;
        ELSE
            SELECT COUNT(*) + blocked, MIN(deadline) INTO number, first_end
              FROM leasehold_claim WHERE name = wanted AND seq < my_seq;
            IF blocked THEN
                SET kind = 'behind', first_end = LEAST(COALESCE(first_end, old_end), old_end);
            ELSE
                SET kind = 'queued';
            END IF;
        END IF;
    END IF;
    SELECT kind, number, first_end - at, heirs;
END
;;
-- What callers mostly ask, one lock that nobody else wants, without the looks that leasehold_work takes at a queue. Both
-- answer as it does, and leave to it, within the same round trip, whatever is not so simple.
--
-- Joins where there is no row.
CREATE PROCEDURE leasehold_lock(
    asker        BINARY(16),
    wanted       VARBINARY(255),
    claim        BINARY(16),
    for_ttl      BIGINT,
    of_capacity  INT,
    of_weight    INT,
    for_at_least BIGINT,
    by_owner     TEXT CHARACTER SET utf8mb4,
    with_payload TEXT CHARACTER SET utf8mb4
)
MODIFIES SQL DATA
SQL SECURITY INVOKER
work: BEGIN
    DECLARE received BIGINT DEFAULT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED);
    DECLARE until BIGINT DEFAULT received + GREATEST(for_ttl, for_at_least);
    -- A row that is there might be in somebody's hand, and would be waited for.
    IF NOT EXISTS (SELECT 1 FROM distributed_locks WHERE lock_name = wanted) THEN
        INSERT INTO distributed_locks (lock_name, owner_id, expires_at, created_at)
        VALUES (wanted, IF(of_weight = of_capacity, CONCAT('leasehold:', LOWER(HEX(claim))), 'leasehold:shared'),
                FROM_UNIXTIME(until * 0.000001), FROM_UNIXTIME(received * 0.000001))
            ON DUPLICATE KEY UPDATE owner_id = owner_id;
        IF ROW_COUNT() = 1 THEN
            -- Looks only now, for until the row is ours others may join and leave.
            IF NOT EXISTS (SELECT 1 FROM leasehold_claim WHERE name = wanted) THEN
                INSERT INTO leasehold_claim (name, id, peer, capacity, weight, ttl, at_least, joined, deadline, keep_until, held,
                                             revoked, owner, payload)
                VALUES (wanted, claim, asker, of_capacity, of_weight, for_ttl, for_at_least, received, until,
                        IF(for_at_least > 0, received + for_at_least, 0), TRUE, FALSE, by_owner, with_payload);
                SELECT 'held', LAST_INSERT_ID(), NULL, NULL;
                LEAVE work;
            END IF;
            -- Somebody has deleted the row of a lock that is waited for.
            DELETE FROM distributed_locks WHERE lock_name = wanted;
        END IF;
    END IF;
    CALL leasehold_work('join', 'skip', asker, wanted, claim, for_ttl, of_capacity, of_weight, for_at_least, by_owner,
                        with_payload);
END
;;
-- Releases where nobody waits and nobody shares.
CREATE PROCEDURE leasehold_unlock(asker BINARY(16), wanted VARBINARY(255), claim BINARY(16))
MODIFIES SQL DATA
SQL SECURITY INVOKER
work: BEGIN
    DECLARE ours BOOLEAN DEFAULT FALSE;
    DECLARE standing, mine INT;
    SELECT TRUE INTO ours FROM distributed_locks
     WHERE lock_name = wanted AND owner_id = CONCAT('leasehold:', LOWER(HEX(claim))) FOR UPDATE SKIP LOCKED;
    IF ours THEN
        -- Looks only now, for until the row is ours others may join.
        SELECT COUNT(*), SUM(id = claim AND at_least = 0) INTO standing, mine FROM leasehold_claim WHERE name = wanted;
        IF standing = 1 AND mine = 1 THEN
            DELETE FROM leasehold_claim WHERE name = wanted;
            DELETE FROM distributed_locks WHERE lock_name = wanted;
            SELECT 'gone', NULL, NULL, NULL;
            LEAVE work;
        END IF;
    END IF;
    CALL leasehold_work('release', 'skip', asker, wanted, claim, 0, 0, 0, 0, NULL, NULL);
END
;;
-- Renews claims that hold alone, each of a name of its own: `[["NAME","ID",TTL],...]`, in hexadecimal digits and microseconds.
-- Tells which it has renewed, by their place in the list. All others, for whom there is more to look at or whose row
-- somebody else has in hand, are to be asked for by themselves.
CREATE PROCEDURE leasehold_renew(list LONGTEXT CHARACTER SET utf8mb4)
MODIFIES SQL DATA
SQL SECURITY INVOKER
BEGIN
    DECLARE ours LONGTEXT CHARACTER SET utf8mb4;
    DECLARE at BIGINT;
    SELECT GROUP_CONCAT(j.nth) INTO ours
      FROM JSON_TABLE(list, '$[*]' COLUMNS (nth FOR ORDINALITY, name VARCHAR(510) PATH '$[0]', id CHAR(32) PATH '$[1]')) j
      STRAIGHT_JOIN distributed_locks l ON l.lock_name = UNHEX(j.name) AND l.owner_id = CONCAT('leasehold:', j.id)
       FOR UPDATE SKIP LOCKED;
    -- Whoever had a row before has seen an earlier time.
    SET at = CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED);
    -- In whatever order these are set, they come to the same.
    UPDATE JSON_TABLE(list, '$[*]' COLUMNS (nth FOR ORDINALITY, name VARCHAR(510) PATH '$[0]', id CHAR(32) PATH '$[1]',
                                            ttl BIGINT PATH '$[2]')) j
      STRAIGHT_JOIN leasehold_claim c ON c.name = UNHEX(j.name) AND c.id = UNHEX(j.id)
      STRAIGHT_JOIN distributed_locks l ON l.lock_name = c.name
       SET l.expires_at = FROM_UNIXTIME(GREATEST(c.deadline, at + j.ttl) * 0.000001),
           c.deadline = GREATEST(c.deadline, at + j.ttl), c.ttl = GREATEST(c.ttl, j.ttl)
     WHERE FIND_IN_SET(j.nth, ours) AND c.held AND NOT c.revoked
       AND c.deadline > at AND c.deadline <= at + GREATEST(c.ttl, c.at_least);
    SELECT j.nth, c.seq
      FROM JSON_TABLE(list, '$[*]' COLUMNS (nth FOR ORDINALITY, name VARCHAR(510) PATH '$[0]', id CHAR(32) PATH '$[1]',
                                            ttl BIGINT PATH '$[2]')) j
      STRAIGHT_JOIN leasehold_claim c ON c.name = UNHEX(j.name) AND c.id = UNHEX(j.id)
     WHERE FIND_IN_SET(j.nth, ours) AND c.held AND NOT c.revoked
       AND c.deadline >= at + j.ttl AND c.deadline <= at + GREATEST(c.ttl, c.at_least);
END
;;
-- Waits for hand-overs that this peer is to hear of, and tells them: `ID:TOKEN ID:TOKEN ...`, or nothing if none comes in
-- time. MySQL has nothing that one session could wake another by, so it looks every 10 ms, in the server.
CREATE PROCEDURE leasehold_hear(asker BINARY(16), looks INT)
MODIFIES SQL DATA
SQL SECURITY INVOKER
BEGIN
    DECLARE heard, tokens LONGTEXT CHARACTER SET utf8mb4;
    WHILE heard IS NULL AND looks > 0 DO
        SELECT GROUP_CONCAT(LOWER(HEX(id)), ':', token SEPARATOR ' '), GROUP_CONCAT(token)
          INTO heard, tokens FROM leasehold_note WHERE peer = asker;
        IF heard IS NULL THEN
            DO SLEEP(0.01);
            SET looks = looks - 1;
        ELSE
            DELETE FROM leasehold_note WHERE peer = asker AND FIND_IN_SET(token, tokens);
        END IF;
    END WHILE;
    SELECT heard;
END
;;
-- The last, for it says that all is there.
CREATE TABLE IF NOT EXISTS leasehold_schema (
    version INT NOT NULL PRIMARY KEY
) ENGINE = InnoDB
;;
INSERT IGNORE INTO leasehold_schema VALUES (1)
;;
COMMIT
;;
DELIMITER ;
