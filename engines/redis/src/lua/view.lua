-- What stands at a resource, for onlookers: the time, the plain key and how long it lives, and the queue, which is a
-- string if a claim is alone in it and a hash if not.
-- KEYS: plain
-- ARGV: the slot's tag
local record = 'leasehold:{' .. ARGV[1] .. '}:' .. KEYS[1]
local alone = redis.call('MGET', record)[1]
local time = redis.call('TIME')
return { time[1], time[2], redis.call('MGET', KEYS[1])[1], redis.call('PTTL', KEYS[1]), alone,
  redis.call('PTTL', record), not alone and redis.call('HGETALL', record) or false }
