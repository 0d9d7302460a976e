-- SETTLE: lets in whoever fits now. Whoever asks itself (`id`) is answered, the others are told.
while next_ <= last and taken < capacity and not foreign do
  local number = string.format('%d', next_)
  local first, entry = id, mine
  if not joins or next_ < last then
    first = redis.call('HGET', record, number)
    entry = first and (first == id and mine or redis.call('HGET', record, first))
  end
  if entry then
    local part, deadline, _, keep, joined, inbox, revoked, seq = struct.unpack(ENTRY, entry)
    if taken + part > capacity then break end
    local granted = mint(first == id and proposed or 0, first == id)
    if not granted then break end
    if keep > 0 then
      keep = now + keep
      deadline = math.max(deadline, keep)
      latest = math.max(latest, deadline)
    end
    held, taken, until_ = held + 1, taken + part, math.max(until_, deadline)
    if part == capacity then sole = first end
    entry = struct.pack(ENTRY, part, deadline, granted, keep, joined, inbox, revoked, seq)
      .. string.sub(entry, ENTRY_SIZE + 1)
    if first == id then
      mine = entry
    else
      redis.call('PUBLISH', 'leasehold:inbox:' .. inbox, first .. string.format('%.0f', granted))
      changes[#changes + 1] = first
      changes[#changes + 1] = entry
    end
  end
  next_ = next_ + 1
end
