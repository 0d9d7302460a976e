-- Ends claims, each in its own queue; one that fails does not fail the others.
-- KEYS: plain of each
-- ARGV: of each, as when there is one
local of = 1
local function each(key, arg)
