-- KEYS[1] keeps the marks of the lock, ARGV[1] is the token and ARGV[2] the mode.
do
  local marks = redis.call('HMGET', KEYS[1], 'exclusive', 'shared')
  local exclusive, shared = tonumber(marks[1] or 0), tonumber(marks[2] or 0)
  local token, mode = tonumber(ARGV[1]), ARGV[2]
  local seen = exclusive
  if mode == 'exclusive' and shared > seen then seen = shared end
  if token < seen then return redis.error_reply('STALE ' .. string.format('%.0f', seen)) end
  local own = exclusive
  if mode == 'shared' then own = shared end
  if token > own then redis.call('HSET', KEYS[1], mode, ARGV[1]) end
end
