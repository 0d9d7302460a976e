-- Puts a claim at the end of a queue, or renews it if it stands there.
local ttl, proposed, answer = tonumber(px), tonumber(proposal or 0), 0
local joins = not mine
local _, _, _, wanted, weight, at_least, _, inbox = struct.unpack(ALONE, arg)
if joins and claims > 0 and capacity ~= wanted then
  answer = { 1, capacity }
elseif joins and claims >= CLAIMS_MAX then
  answer = { 2, CLAIMS_MAX }
else
  if joins then
    capacity, claims, last = wanted, claims + 1, last + 1
    local deadline = now + math.min(ttl * 1000, WAITING_MAX)
    soonest, latest = math.min(soonest, deadline), math.max(latest, deadline)
    mine = struct.pack(ENTRY, weight, deadline, 0, at_least, now, inbox, 0, last)
      .. string.sub(arg, ALONE_SIZE + 1)
    changes[#changes + 1] = string.format('%d', last)
    changes[#changes + 1] = id
  end
