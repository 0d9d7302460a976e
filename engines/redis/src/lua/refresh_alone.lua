-- The usual case first: it is alone.
if alone and sole == id and proposed == 0 then
  local px = string.format('%d', ttl)
  local joined = struct.unpack('>I8', mine, 29)
  redis.call('SET', key, id, 'PX', px)
  redis.call('SET', record, string.sub(alone, 1, 52) .. struct.pack('>I8', joined) .. string.sub(alone, 61), 'PX', px)
  return struct.unpack('>I8', alone, #alone - 7)
end
