-- Joins claims, each its own queue; one that fails does not fail the others.
-- KEYS: plain of each
-- ARGV: of each, a queue in which it is alone, without its token; the ttl in ms; and, if any of them proposes one, a
-- proposed token or 0
local of = #ARGV / #KEYS
local function each(key, arg, px, proposal)
local vouched
