-- Ends a claim and lets in whoever comes next.
local joins, proposed, answer = false, 0, mine and 1 or 0
if mine then
  local part, deadline, token, keep, joined, inbox, revoked, number = struct.unpack(ENTRY, mine)
  local kept = manner == 'r' and token > 0 and keep > now
  if kept then
    -- The one deadline that moves back: to the end of what the owner itself asked for.
    deadline = keep
    soonest = math.min(soonest, deadline)
    if sole == id then until_ = deadline end
  end
  if kept or (manner == 'd' and token > 0) then
    changes[#changes + 1] = id
    changes[#changes + 1] = struct.pack(ENTRY, part, deadline, token, keep, joined, inbox, 1, number)
      .. string.sub(mine, ENTRY_SIZE + 1)
  else
    if alone then changes = {} else redis.call('HDEL', record, id, string.format('%d', number)) end
    claims, mine = claims - 1, nil
    if token > 0 then
      held, taken = held - 1, taken - part
      if sole == id then sole = NOBODY end
      if held == 0 then
        until_ = 0
      elseif deadline >= until_ and claims <= 100 then
        until_ = 0
        local all = redis.call('HGETALL', record)
        for at = 1, #all, 2 do
          if #all[at] == 32 then
            local _, till, granted = struct.unpack(ENTRY, all[at + 1])
            if granted > 0 then until_ = math.max(until_, till) end
          end
        end
      end
    end
  end
end
