-- KEYS: plain
-- ARGV: r(elease), d(ismiss: revoke) or e(vict), '0' if the counter is not vouched for, the slot's tag, the claim's id
local key, arg = KEYS[1], ARGV[1]
