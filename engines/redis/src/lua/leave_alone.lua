local id = string.sub(arg, 6, 37)
local base = 'leasehold:{' .. string.sub(arg, 3, 5) .. '}'
local record = base .. ':' .. key
local manner, vouched = string.sub(arg, 1, 1), string.sub(arg, 2, 2)
local pair = redis.call('MGET', key, record)
local value, alone = pair[1], pair[2]
-- The usual case first: it is alone, and goes.
if manner == 'r' and value == id and alone and string.sub(alone, 5, 36) == id then
  redis.call('DEL', key, record)
  return 1
end
-- An error if it is no string.
if not value then value = redis.call('GET', key) end
