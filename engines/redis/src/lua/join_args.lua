-- KEYS: plain
-- ARGV: a queue in which this claim is alone, without its token; the ttl in ms; if given, a proposed token (or 0), and
-- '0' if the counter is not vouched for
local key, arg, px, proposal, vouched = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
