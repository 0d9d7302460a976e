-- RENEW: renews the claim and says how it stands: a token, 0 if it is gone, or { 0, ahead, microseconds until the next
-- look, whether a lock of another client is ahead }.
local before
if joins and next_ <= last then
  changes[#changes + 1] = id
  changes[#changes + 1] = mine
  before = claims - held - 1
elseif mine then
  local part, deadline, token, keep, joined, inbox, revoked, number = struct.unpack(ENTRY, mine)
  if revoked == 0 then
    if token > 0 and proposed > 0 and token ~= proposed and not joins then token = mint(proposed, true) end
    deadline = math.max(deadline, now + (token > 0 and ttl * 1000 or math.min(ttl * 1000, WAITING_MAX)))
    latest = math.max(latest, deadline)
    changes[#changes + 1] = id
    changes[#changes + 1] = struct.pack(ENTRY, part, deadline, token, keep, joined, inbox, revoked, number)
      .. string.sub(mine, ENTRY_SIZE + 1)
    if token > 0 then
      until_ = math.max(until_, deadline)
      answer = token
    else
      before = number - next_
      if last - next_ + 1 > claims - held then
        -- Some of the numbers before it have gone.
        if before > 256 then
          before = math.min(before, claims - held - 1)
        else
          local there = 0
          for at = next_, number - 1 do
            there = there + redis.call('HEXISTS', record, string.format('%d', at))
          end
          before = there
        end
      end
    end
  end
end
if before then
  local look = soonest - now
  if foreign then
    local left = redis.call('PTTL', key) * 1000
    if before == 0 then look = math.min(look, FOREIGN_LOOK) end
    if left >= 0 then look = math.min(look, left) end
    before = before + 1
  end
  answer = { 0, held + before, look, foreign and 1 or 0 }
end
