-- KEYS: the value of the plain key, which is an error if it is no string; and the queue, if it is one.
local value, alone = redis.call('GET', key), redis.call('MGET', record)[1]
