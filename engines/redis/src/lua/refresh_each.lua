-- Renews claims, each in its own queue; one that fails does not fail the others.
-- KEYS: plain of each; in a cluster, where there is but one, the queue and the counter come after it
-- ARGV: of each, the slot's tag, the ttl in ms, '0' if the counter is not vouched for, a proposed token or 0, the claim's id
local of = 1
local function each(key, arg)
local joins = false
local tag, ttl, vouched, proposed, id = struct.unpack('>c3I6c1I8c32', arg)
local base = 'leasehold:{' .. tag .. '}'
local record = base .. ':' .. key
local answer = 0
