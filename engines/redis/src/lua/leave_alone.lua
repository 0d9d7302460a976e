-- KEYS: plain
-- ARGV: r(elease), d(ismiss: revoke) or e(vict), '0' if the counter is not vouched for, the slot's tag, the claim's id
local key, id = KEYS[1], string.sub(ARGV[1], 6, 37)
local base = 'leasehold:{' .. string.sub(ARGV[1], 3, 5) .. '}'
local record = base .. ':' .. key
local manner, vouched = string.sub(ARGV[1], 1, 1), string.sub(ARGV[1], 2, 2)
local pair = redis.call('MGET', key, record)
local value, alone = pair[1], pair[2]
-- The usual case first: it is alone, and goes.
if manner == 'r' and value == id and alone and string.sub(alone, 5, 36) == id then
  redis.call('DEL', key, record)
  return 1
end
-- An error if it is no string.
if not value then value = redis.call('GET', key) end
