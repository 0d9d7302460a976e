-- The usual case first: all of the resource, with no at-least hold, while nobody holds or waits.
if redis.call('SET', key, id, 'NX', 'PX', px) then
  local token = redis.call('INCR', base)
  if token > 1500000000000000 and token < 9007199254740992 then
    if proposal and tonumber(proposal) > token then
      token = tonumber(proposal)
      redis.call('SET', base, proposal)
    end
    if redis.call('SET', record, arg .. struct.pack('>I8', token), 'NX', 'PX', px) then return token end
  end
  redis.call('DEL', key)
end
