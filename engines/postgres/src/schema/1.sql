-- The locks of leasehold in PostgreSQL. A user who locks needs no more than this:
--   GRANT SELECT, INSERT, UPDATE, DELETE ON distributed_locks, leasehold_claim TO USER;
--   GRANT SELECT, UPDATE, USAGE ON SEQUENCE leasehold_token TO USER;
--   GRANT SELECT ON leasehold_schema TO USER;
--
-- Who holds what, in the shape of the common recipe: clients that INSERT ... ON CONFLICT DO NOTHING, DELETE their own
-- row and delete rows that have expired exclude leasehold and are excluded by it. While a claim of leasehold holds, the
-- owner is `leasehold:` and its id; while readers or permits do, `leasehold:shared`.
CREATE TABLE IF NOT EXISTS distributed_locks (
    lock_name  text        PRIMARY KEY,
    owner_id   text        NOT NULL,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE leasehold_schema (
    version int NOT NULL
);
INSERT INTO leasehold_schema VALUES (1);

-- Fencing tokens, and the order of the queues.
CREATE SEQUENCE leasehold_token MAXVALUE 9007199254740991;

-- Who holds and who waits.
CREATE TABLE leasehold_claim (
    name       text COLLATE "C" NOT NULL,
    seq        bigint      NOT NULL, -- the order of the queue
    id         text        NOT NULL, -- 32 hexadecimal digits
    peer       text        NOT NULL, -- which client's engine is to be told that it holds
    capacity   int         NOT NULL,
    weight     int         NOT NULL,
    ttl        interval    NOT NULL, -- the longest that was asked for
    at_least   interval    NOT NULL,
    joined     timestamptz NOT NULL,
    deadline   timestamptz NOT NULL,
    keep_until timestamptz NOT NULL, -- the end of its at-least hold
    token      bigint,               -- null while it waits
    revoked    boolean     NOT NULL,
    owner      text        NOT NULL,
    payload    text,
    PRIMARY KEY (name, seq)
) WITH (fillfactor = 70);

-- Does what many callers ask, each on the locks that it names, in one transaction and one round trip.
--
-- A row of distributed_locks is locked for each name; whoever has it may change the queue of that name. Names whose row
-- somebody else has in hand are told as 'busy', unless `patient`: then there is only one, and it is waited for.
-- Leaves come first, then joins, then renewals; no claim is named twice. See docs.md for the rest.
CREATE FUNCTION leasehold_work(
    patient boolean, me text,
    join_names text[], join_ids text[], join_capacities int[], join_weights int[], join_ttls bigint[],
    join_at_leasts bigint[], join_owners text[], join_payloads text[],
    refresh_names text[], refresh_ids text[], refresh_ttls bigint[],
    leave_names text[], leave_ids text[], leave_manners int[] -- 0 release, 1 revoke, 2 evict
) RETURNS TABLE (kind text, claim text, number bigint, span bigint, whose text)
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET lock_timeout = '500ms'
-- The tables may be empty when a plan is made and huge when it is used.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    us CONSTANT interval := '1 microsecond';
    waiting_ttl CONSTANT bigint := 5000000;
    queue_max CONSTANT int := 10000;
    shared CONSTANT text := 'leasehold:shared';
    received CONSTANT timestamptz := clock_timestamp();
    at timestamptz;
    wanted text[];
    -- The rows, one index a row: what stood there before, and what stands there now.
    names text[];
    old_owners text[];
    old_ends timestamptz[];
    owners text[];
    ends timestamptz[];
    new_names text[];
    new_owners text[];
    new_ends timestamptz[];
    blocked text[]; -- names that somebody else holds
    died text[] := '{}'; -- claims that were found dead
    dead bigint;
    far bigint;
    waiting boolean; -- whether anybody waits
    calm boolean := true; -- whether every row says already what it has to
    new_rows bigint;
    left_now bigint;
    alone bigint := 0; -- how many joined an empty queue alone
    joined bigint := 0; -- how many joined at all
    held_now bigint := 0; -- how many that hold were renewed
    heirs text[]; -- who holds now and has waited
    heir_tokens bigint[];
    heir_peers text[];
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'leasehold needs the isolation level read committed' USING ERRCODE = 'LH001';
    END IF;
    -- Tokens are drawn under this, and raised to the clock under its opposite.
    PERFORM pg_advisory_xact_lock_shared(7810774602817235315);

    -- Locks the rows.
    wanted := ARRAY(SELECT DISTINCT n FROM unnest(join_names || refresh_names || leave_names) n);
    LOOP
        IF patient THEN
            SELECT array_agg(lock_name), array_agg(owner_id), array_agg(expires_at)
              INTO names, old_owners, old_ends
              FROM (SELECT lock_name, owner_id, expires_at FROM distributed_locks
                     WHERE lock_name = ANY (wanted) FOR UPDATE) r;
        ELSE
            SELECT array_agg(lock_name), array_agg(owner_id), array_agg(expires_at)
              INTO names, old_owners, old_ends
              FROM (SELECT lock_name, owner_id, expires_at FROM distributed_locks
                     WHERE lock_name = ANY (wanted) FOR UPDATE SKIP LOCKED) r;
        END IF;
        names := coalesce(names, '{}');
        owners := old_owners;
        ends := old_ends;
        EXIT WHEN cardinality(names) = cardinality(wanted);
        -- Puts those that are not there: as the row of the first who joins, which is mostly right. In the order of
        -- names, for here one may have to wait for others who put the same.
        WITH missing AS (
            SELECT n FROM (SELECT unnest(wanted) EXCEPT SELECT unnest(names)) x (n)
        ), put AS (
            INSERT INTO distributed_locks (lock_name, owner_id, expires_at, created_at)
            SELECT m.n, coalesce(CASE WHEN j.capacity = j.weight THEN 'leasehold:' || j.id ELSE shared END, ''),
                   coalesce(received + greatest(j.ttl, j.at_least) * us, '-infinity'), received
              FROM missing m LEFT JOIN (
                  SELECT DISTINCT ON (name) *
                    FROM unnest(join_names, join_ids, join_capacities, join_weights, join_ttls, join_at_leasts)
                         WITH ORDINALITY j (name, id, capacity, weight, ttl, at_least, nth)
                   ORDER BY name, nth
              ) j ON j.name = m.n
             ORDER BY m.n COLLATE "C"
            ON CONFLICT (lock_name) DO NOTHING
            RETURNING lock_name, owner_id, expires_at
        )
        SELECT array_agg(lock_name), array_agg(owner_id), array_agg(expires_at)
          INTO new_names, new_owners, new_ends FROM put;
        IF new_names IS NOT NULL THEN
            names := names || new_names;
            old_owners := old_owners || array_fill(NULL::text, ARRAY[cardinality(new_names)]);
            old_ends := old_ends || array_fill('-infinity'::timestamptz, ARRAY[cardinality(new_names)]);
            owners := owners || new_owners;
            ends := ends || new_ends;
        END IF;
        EXIT WHEN NOT patient OR cardinality(names) = cardinality(wanted);
    END LOOP;
    IF cardinality(names) < cardinality(wanted) THEN
        RETURN QUERY SELECT 'busy', NULL::text, NULL::bigint, NULL::bigint, n
                       FROM (SELECT unnest(wanted) EXCEPT SELECT unnest(names)) x (n);
        SELECT array_agg(name), array_agg(id), array_agg(capacity), array_agg(weight), array_agg(ttl),
               array_agg(at_least), array_agg(owner), array_agg(payload)
          INTO join_names, join_ids, join_capacities, join_weights, join_ttls, join_at_leasts, join_owners, join_payloads
          FROM unnest(join_names, join_ids, join_capacities, join_weights, join_ttls, join_at_leasts, join_owners,
               join_payloads) j (name, id, capacity, weight, ttl, at_least, owner, payload)
         WHERE name = ANY (names);
        SELECT array_agg(name), array_agg(id), array_agg(ttl) INTO refresh_names, refresh_ids, refresh_ttls
          FROM unnest(refresh_names, refresh_ids, refresh_ttls) r (name, id, ttl) WHERE name = ANY (names);
        SELECT array_agg(name), array_agg(id), array_agg(manner) INTO leave_names, leave_ids, leave_manners
          FROM unnest(leave_names, leave_ids, leave_manners) l (name, id, manner) WHERE name = ANY (names);
    END IF;
    -- Whoever had the rows before has seen an earlier time.
    at := clock_timestamp();

    -- Looks who is dead: who has not renewed, and who held a row that is now gone or another's. A deadline farther off
    -- than its owner can have asked for is from before the clock was set back.
    SELECT coalesce(array_agg(r.name) FILTER (WHERE r.until > at AND NOT c.held), '{}'), coalesce(sum(c.dead), 0),
           coalesce(sum(c.far), 0), coalesce(bool_or(c.waiting), false)
      INTO blocked, dead, far, waiting
      FROM unnest(names, old_owners, old_ends) r (name, owner, until)
     CROSS JOIN LATERAL (
         SELECT coalesce(bool_or(token IS NOT NULL AND NOT gone), false) AS held, count(*) FILTER (WHERE gone) AS dead,
                count(*) FILTER (WHERE deadline > at + greatest(ttl, at_least) AND NOT gone) AS far,
                coalesce(bool_or(token IS NULL AND NOT gone), false) AS waiting
           FROM (SELECT *, deadline <= at OR token IS NOT NULL AND r.owner IS DISTINCT FROM 'leasehold:' || id
                              AND r.owner IS DISTINCT FROM shared AS gone
                   FROM leasehold_claim WHERE name = r.name) x
     ) c;
    IF dead > 0 THEN
        WITH buried AS (
            DELETE FROM leasehold_claim c USING unnest(names, old_owners) r (name, owner)
             WHERE c.name = r.name
               AND (c.deadline <= at OR c.token IS NOT NULL AND r.owner IS DISTINCT FROM 'leasehold:' || c.id
                                    AND r.owner IS DISTINCT FROM shared)
            RETURNING c.id
        )
        SELECT array_agg(id) INTO died FROM buried;
        calm := false;
    END IF;
    IF far > 0 THEN
        UPDATE leasehold_claim c SET deadline = least(deadline, at + greatest(ttl, at_least)),
                                     keep_until = least(keep_until, at + at_least)
         WHERE c.name = ANY (names) AND deadline > at + greatest(ttl, at_least);
        calm := false;
    END IF;

    IF leave_ids <> '{}' THEN
        DELETE FROM leasehold_claim c USING unnest(leave_names, leave_ids, leave_manners) l (name, id, manner)
         WHERE c.name = l.name AND c.id = l.id
           AND NOT (c.token IS NOT NULL AND (l.manner = 1 OR l.manner = 0 AND c.keep_until > at));
        GET DIAGNOSTICS left_now = ROW_COUNT;
        IF left_now < cardinality(leave_ids) THEN
            UPDATE leasehold_claim c SET revoked = true, deadline = CASE l.manner WHEN 0 THEN keep_until ELSE deadline END
              FROM unnest(leave_names, leave_ids, leave_manners) l (name, id, manner)
             WHERE c.name = l.name AND c.id = l.id;
        END IF;
        calm := false;
    END IF;

    -- Who joins an empty queue alone holds at once, until the time that its row says.
    IF join_ids <> '{}' THEN
        WITH put AS (
            INSERT INTO leasehold_claim (name, seq, id, peer, capacity, weight, ttl, at_least, joined, deadline, keep_until,
                                         token, revoked, owner, payload)
            SELECT name, seq, id, me, capacity, weight, ttl * us, at_least * us, at,
                   CASE WHEN alone THEN until ELSE at + least(ttl, waiting_ttl) * us END,
                   CASE WHEN alone AND at_least > 0 THEN received + at_least * us ELSE '-infinity' END,
                   CASE WHEN alone THEN seq END, false, owner, payload
              FROM (
                  SELECT j.*, nextval('leasehold_token') AS seq, r.until,
                         r.mark IS NOT NULL AND j.rivals = 0 AND j.others = 1 AS alone
                    FROM (
                        SELECT j.*, q.rivals, first_value(coalesce(q.current, j.capacity)) OVER line AS current,
                               row_number() OVER line AS place, count(*) OVER (PARTITION BY j.name) AS others
                          FROM unnest(join_names, join_ids, join_capacities, join_weights, join_ttls, join_at_leasts,
                                      join_owners, join_payloads) WITH ORDINALITY
                                   j (name, id, capacity, weight, ttl, at_least, owner, payload, nth)
                         CROSS JOIN LATERAL (
                             SELECT count(*) AS rivals, min(c.capacity) AS current, bool_or(c.id = j.id) AS known
                               FROM leasehold_claim c WHERE c.name = j.name
                         ) q
                         WHERE q.known IS NOT TRUE AND j.id <> ALL (died)
                        WINDOW line AS (PARTITION BY j.name ORDER BY nth)
                         ORDER BY nth
                    ) j
                    LEFT JOIN unnest(names, owners, old_owners, ends) r (name, mark, old, until)
                      ON r.name = j.name AND r.old IS NULL
                         AND r.mark = CASE WHEN j.capacity = j.weight THEN 'leasehold:' || j.id ELSE shared END
                   WHERE j.capacity = j.current AND j.rivals + j.place <= queue_max
              ) j
            RETURNING token
        )
        SELECT count(token), count(*) INTO alone, joined FROM put;
        waiting := waiting OR joined > alone;
    END IF;
    new_rows := (SELECT count(*) FROM unnest(old_owners) o (owner) WHERE owner IS NULL);
    calm := calm AND alone = new_rows AND alone = coalesce(cardinality(join_ids), 0)
            AND coalesce(cardinality(refresh_ids), 0) = 0;

    -- Lets in whoever fits.
    IF waiting THEN
        WITH line AS (
            SELECT name, seq, token, capacity, sum(weight) OVER (PARTITION BY name ORDER BY seq) AS taken
              FROM leasehold_claim WHERE name = ANY (names) AND name <> ALL (blocked)
        ), let_in AS (
            UPDATE leasehold_claim c
               SET token = f.token,
                   keep_until = CASE WHEN at_least > '0' THEN at + at_least ELSE keep_until END,
                   deadline = CASE WHEN at_least > '0' THEN greatest(deadline, at + at_least) ELSE deadline END
              FROM (SELECT name, seq, nextval('leasehold_token') AS token FROM (
                        SELECT name, seq FROM line WHERE token IS NULL AND taken <= capacity ORDER BY name, seq
                    ) x) f
             WHERE c.name = f.name AND c.seq = f.seq
            RETURNING c.id, c.token, c.peer
        )
        SELECT array_agg(id), array_agg(l.token), array_agg(peer) INTO heirs, heir_tokens, heir_peers FROM let_in l;
    END IF;

    -- Renews those who asked.
    IF refresh_ids <> '{}' OR alone < cardinality(join_ids) THEN
        WITH renewed AS (
            UPDATE leasehold_claim c
               SET deadline = greatest(deadline,
                                       at + CASE WHEN token IS NULL THEN least(q.ttl, waiting_ttl) ELSE q.ttl END * us),
                   ttl = greatest(c.ttl, q.ttl * us)
              FROM (SELECT * FROM unnest(refresh_names, refresh_ids, refresh_ttls)
                    UNION ALL SELECT * FROM unnest(join_names, join_ids, join_ttls)) q (name, id, ttl)
             WHERE c.name = q.name AND c.id = q.id AND NOT revoked
            RETURNING token
        )
        SELECT count(r.token) INTO held_now FROM renewed r;
    END IF;

    -- Writes into the rows who holds now.
    IF NOT calm THEN
        WITH want AS (
            SELECT r.name, r.was, r.was_until, c.owner, c.until
              FROM unnest(names, owners, ends) r (name, was, was_until)
             CROSS JOIN LATERAL (
                 SELECT CASE WHEN bool_or(weight = capacity) THEN 'leasehold:' || min(id) ELSE shared END AS owner,
                        max(deadline) AS until
                   FROM leasehold_claim WHERE name = r.name AND token IS NOT NULL
             ) c
             WHERE r.name <> ALL (blocked)
        ), gone AS (
            DELETE FROM distributed_locks l USING want w WHERE l.lock_name = w.name AND w.until IS NULL
        )
        UPDATE distributed_locks l
           SET owner_id = w.owner, expires_at = w.until,
               created_at = CASE l.owner_id WHEN w.owner THEN created_at ELSE at END
          FROM want w
         WHERE l.lock_name = w.name AND w.until IS NOT NULL
           AND (w.owner <> w.was OR w.until <> w.was_until);
    END IF;

    -- A release that is lost in a crash of the database costs a time to live, and a wait that is lost a place in the
    -- queue, and neither costs safety: they need not be waited for until the disk has them. Holds must.
    IF heirs IS NULL AND alone + held_now = 0 THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    ELSIF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;

    -- Answers: of those who asked, whoever is not told of is gone.
    IF waiting THEN
        RETURN QUERY
        WITH line AS (
            SELECT name, id, token, revoked, row_number() OVER queue - 1 AS ahead,
                   min(deadline) OVER (queue ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS first_end
              FROM leasehold_claim WHERE name = ANY (names) WINDOW queue AS (PARTITION BY name ORDER BY seq)
        ), other AS (
            SELECT name, until FROM unnest(names, old_ends) r (name, until) WHERE name = ANY (blocked)
        )
        SELECT CASE WHEN l.token IS NOT NULL THEN 'held' WHEN o.name IS NULL THEN 'queued' ELSE 'behind' END, l.id,
               coalesce(l.token, l.ahead + CASE WHEN o.name IS NULL THEN 0 ELSE 1 END),
               (extract(epoch FROM least(l.first_end, o.until) - at) * 1000000)::bigint, NULL::text
          FROM line l LEFT JOIN other o ON o.name = l.name
         WHERE NOT l.revoked AND l.id = ANY (refresh_ids || join_ids);
        RETURN QUERY
        SELECT 'heir', h.id, h.token, NULL::bigint, h.peer FROM unnest(heirs, heir_tokens, heir_peers) h (id, token, peer)
         WHERE h.id <> ALL (refresh_ids || join_ids);
    ELSIF coalesce(cardinality(join_ids), 0) + coalesce(cardinality(refresh_ids), 0) > 0 THEN
        RETURN QUERY
        SELECT 'held', c.id, c.token, NULL::bigint, NULL::text
          FROM (SELECT * FROM unnest(refresh_names, refresh_ids) UNION ALL SELECT * FROM unnest(join_names, join_ids))
                   q (name, id)
          JOIN leasehold_claim c ON c.name = q.name AND c.id = q.id
         WHERE NOT c.revoked;
    END IF;
    IF joined < cardinality(join_ids) THEN
        RETURN QUERY
        SELECT CASE WHEN q.current = j.capacity THEN 'full' ELSE 'capacity' END, j.id, q.current::bigint, NULL::bigint,
               NULL::text
          FROM unnest(join_names, join_ids, join_capacities) j (name, id, capacity)
         CROSS JOIN LATERAL (
             SELECT min(c.capacity) AS current, bool_or(c.id = j.id) AS known FROM leasehold_claim c WHERE c.name = j.name
         ) q
         WHERE q.known IS FALSE AND j.id <> ALL (died);
    END IF;
END
$$;
