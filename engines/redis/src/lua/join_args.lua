-- KEYS: plain
-- ARGV: a queue in which this claim is alone, without its token; the ttl in ms; if given, a proposed token (or 0), and
-- '0' if the counter is not vouched for
local key, id = KEYS[1], string.sub(ARGV[1], 5, 36)
local base = 'leasehold:{' .. string.sub(ARGV[1], 2, 4) .. '}'
local record = base .. ':' .. key
local vouched = ARGV[4]
