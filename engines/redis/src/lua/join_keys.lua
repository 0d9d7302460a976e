local id, base = string.sub(arg, 5, 36), 'leasehold:{' .. string.sub(arg, 2, 4) .. '}'
local record = base .. ':' .. key
