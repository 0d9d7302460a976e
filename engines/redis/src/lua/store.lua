-- STORE: writes what has become of the queue.
if claims == 0 then
  if ours then redis.call('DEL', key, record) else redis.call('DEL', record) end
else
  want = sole ~= NOBODY and sole or held > 0 and SHARED
  if want and (value ~= want or until_ ~= ours_until) then
    redis.call('SET', key, want, 'PX', string.format('%d', math.ceil((until_ - now) / 1000)))
  elseif ours and not want then
    redis.call('DEL', key)
  end
  if alone then redis.call('DEL', record) end
  -- The key may outlive the last claim a little, so that it need not be told of each.
  if alone or latest > expires then latest, expires = latest + SLACK, 0 end
  changes[#changes + 1] = '^'
  changes[#changes + 1] =
    struct.pack(HEAD, 1, capacity, claims, held, taken, next_, last, soonest, latest, until_, sole)
  redis.call('HSET', record, unpack(changes))
  if expires == 0 then redis.call('PEXPIRE', record, string.format('%d', math.ceil((latest - now) / 1000))) end
end
