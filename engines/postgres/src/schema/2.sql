-- Version 2: what callers mostly ask, one lock that nobody else wants, without the sets that leasehold_work makes of many.
--
-- Both answer as leasehold_work does, and leave to it, within the same round trip, whatever is not so simple. They are
-- for sessions that have been set up by leasehold, not for those that a pooler hands out.

-- Joins where there is no row.
CREATE FUNCTION leasehold_lock(
    me text, join_name text, join_id text, join_capacity int, join_weight int, join_ttl bigint, join_at_least bigint,
    join_owner text, join_payload text
) RETURNS TABLE (kind text, claim text, number bigint, span bigint, whose text)
LANGUAGE plpgsql
AS $$
#variable_conflict use_variable
DECLARE
    us CONSTANT interval := '1 microsecond';
    received CONSTANT timestamptz := clock_timestamp();
    until CONSTANT timestamptz := received + greatest(join_ttl, join_at_least) * us;
    drawn bigint;
BEGIN
    -- Tokens are drawn under this, and raised to the clock under its opposite.
    PERFORM pg_advisory_xact_lock_shared(7810774602817235315);
    INSERT INTO distributed_locks (lock_name, owner_id, expires_at, created_at)
    VALUES (join_name, CASE join_capacity WHEN join_weight THEN 'leasehold:' || join_id ELSE 'leasehold:shared' END, until,
            received)
    ON CONFLICT (lock_name) DO NOTHING;
    IF FOUND THEN
        -- Looks only now, for until the row is ours others may join and leave.
        drawn := nextval('leasehold_token');
        INSERT INTO leasehold_claim (name, seq, id, peer, capacity, weight, ttl, at_least, joined, deadline, keep_until, token,
                                     revoked, owner, payload)
        SELECT join_name, drawn, join_id, me, join_capacity, join_weight, join_ttl * us, join_at_least * us, received, until,
               CASE WHEN join_at_least > 0 THEN received + join_at_least * us ELSE '-infinity' END, drawn, false, join_owner,
               join_payload
         WHERE NOT EXISTS (SELECT FROM leasehold_claim c WHERE c.name = join_name);
        IF FOUND THEN
            kind := 'held';
            claim := join_id;
            number := drawn;
            RETURN NEXT;
            RETURN;
        END IF;
        -- Somebody has deleted the row of a lock that is waited for.
        DELETE FROM distributed_locks l WHERE l.lock_name = join_name;
    END IF;
    RETURN QUERY
    SELECT * FROM leasehold_work(false, me, ARRAY[join_name], ARRAY[join_id], ARRAY[join_capacity], ARRAY[join_weight],
                                 ARRAY[join_ttl], ARRAY[join_at_least], ARRAY[join_owner], ARRAY[join_payload],
                                 '{}', '{}', '{}', '{}', '{}', '{}');
END
$$;

-- Releases where nobody waits and nobody shares.
CREATE FUNCTION leasehold_unlock(me text, leave_name text, leave_id text)
RETURNS TABLE (kind text, claim text, number bigint, span bigint, whose text)
LANGUAGE plpgsql
AS $$
#variable_conflict use_variable
BEGIN
    PERFORM FROM distributed_locks l WHERE l.lock_name = leave_name AND l.owner_id = 'leasehold:' || leave_id
        FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        -- Looks only now, for until the row is ours others may join.
        WITH gone AS (
            DELETE FROM leasehold_claim c
             WHERE c.name = leave_name AND c.id = leave_id AND c.keep_until <= clock_timestamp()
               AND NOT EXISTS (SELECT FROM leasehold_claim o WHERE o.name = leave_name AND o.id <> leave_id)
            RETURNING c.name
        )
        DELETE FROM distributed_locks l USING gone g WHERE l.lock_name = g.name;
        IF FOUND THEN
            -- One that is lost in a crash of the database costs a time to live, no more.
            PERFORM set_config('synchronous_commit', 'off', true);
            RETURN;
        END IF;
    END IF;
    RETURN QUERY
    SELECT * FROM leasehold_work(false, me, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',
                                 ARRAY[leave_name], ARRAY[leave_id], ARRAY[0]);
END
$$;

UPDATE leasehold_schema SET version = 2;
