-- LOAD: reads the queue, of which `value` and `alone` are known, and what is there of the claim `id`; removes from it who is dead, and whoever held
-- until another client's lock overrode it. Held claims are before all waiting ones.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local capacity, claims, held, taken, next_, last = 0, 0, 0, 0, 1, 0
local soonest, latest, until_, sole = math.huge, 0, 0, NOBODY
local mine, changes, expires = nil, {}, 0
if alone then
  -- The claim in it has no times of its own: they follow from when its key expires.
  local version, _, holder, of, _, _, joined, inbox = struct.unpack(ALONE, alone)
  if version ~= 'A' then error({ err = 'LEASEHOLD record of another version' }) end
  local token = struct.unpack('>I8', alone, #alone - 7)
  capacity, claims, held, taken, next_, last, sole = of, 1, 1, of, 2, 1, holder
  soonest = now + redis.call('PTTL', record) * 1000
  latest, until_ = soonest, soonest
  if joined < SPAN_MAX then joined = soonest - joined end
  local entry = struct.pack(ENTRY, of, soonest, token, 0, joined, inbox, 0, 1) .. string.sub(alone, ALONE_SIZE + 1, -9)
  changes = { '1', holder, holder, entry }
  if holder == id then mine = entry end
else
  local found = redis.call('HMGET', record, '^', id)
  if found[1] then
    local version
    version, capacity, claims, held, taken, next_, last, soonest, latest, until_, sole = struct.unpack(HEAD, found[1])
    if version ~= 1 then error({ err = 'LEASEHOLD record of another version' }) end
    mine, expires = found[2], latest
  end
end
local want = sole ~= NOBODY and sole or held > 0 and SHARED
local foreign = value and value ~= want
local ours, ours_until = value and not foreign, until_
if alone and (foreign or soonest <= now) then
  claims, held, taken, next_, last, soonest, latest, until_, sole = 0, 0, 0, 1, 0, math.huge, 0, 0, NOBODY
  mine, changes = nil, {}
elseif soonest <= now or (foreign and held > 0) then
  local all = redis.call('HGETALL', record)
  claims, held, taken, soonest, latest, until_, sole = 0, 0, 0, math.huge, 0, 0, NOBODY
  for at = 1, #all, 2 do
    if #all[at] == 32 then
      local part, deadline, token, _, _, _, _, seq = struct.unpack(ENTRY, all[at + 1])
      if deadline <= now or (foreign and token > 0) then
        redis.call('HDEL', record, all[at], string.format('%d', seq))
        if all[at] == id then mine = nil end
      else
        claims, soonest, latest = claims + 1, math.min(soonest, deadline), math.max(latest, deadline)
        if token > 0 then
          held, taken, until_ = held + 1, taken + part, math.max(until_, deadline)
          if part == capacity then sole = all[at] end
        end
      end
    end
  end
end

-- The next token, or the proposed one if it is above all before. A counter that nobody vouches for, or that is far
-- behind any clock, is raised to the clock. At the end of tokens nobody is let in, and whoever asks itself is told.
local function mint(proposal, asks)
  local counted = redis.call('INCR', base)
  local token = counted
  if (vouched == '0' or token < TOKENS_FROM_CLOCK) and token < now then token = now end
  if proposal >= token then token = proposal end
  if token >= TOKEN_END then
    redis.call('DECR', base)
    if not asks then return nil end
    error({ err = 'LEASEHOLD fencing tokens are exhausted at 2^53' })
  end
  if token ~= counted then redis.call('SET', base, string.format('%.0f', token)) end
  return token
end
