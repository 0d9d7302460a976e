-- The usual case first: all of the resource, with no at-least hold, while nobody holds or waits.
if redis.call('SET', key, id, 'NX', 'PX', ARGV[2]) then
  local token = redis.call('INCR', base)
  if token > 1500000000000000 and token < 9007199254740992 then
    if ARGV[3] and tonumber(ARGV[3]) > token then
      token = tonumber(ARGV[3])
      redis.call('SET', base, ARGV[3])
    end
    if redis.call('SET', record, ARGV[1] .. struct.pack('>I8', token), 'NX', 'PX', ARGV[2]) then return token end
  end
  redis.call('DEL', key)
end
