-- The queue of one resource, and the one rule on it: a claim is held if and only if the weights of all live claims up
-- to and including it fit the capacity. Written after leasehold-core's `ledger::Queue`; the tests compare the two.
--
-- A queue in which one claim holds all and nobody waits is a string, which is quickly written. Any other is a hash: its
-- head at `^`, an entry a claim at the claim's id, and at each number of the order the id of the claim that has it.
-- Times are the server's, in microseconds. There is but one function here, because making one costs as much as a
-- command, and no long string, because that costs more: the scripts are put together from parts.
--
-- Head: version, capacity, claims, held, weight held, number of the first that may wait, last number, when the next of
-- them may die, before when the last one will have, until when somebody holds, who holds all of it.
local HEAD = '>I1I4I4I4I4I6I6I8I8I8c32'
-- Weight, deadline, token or 0, at-least (once held: until when), joined, inbox, revoked, number; then what the claim
-- says about itself.
local ENTRY, ENTRY_SIZE = '>I4I8I8I8I8c8I1I6', 51
-- 'A', the slot's tag, id, capacity, weight, at-least, joined (or, if it is less than SPAN_MAX, how long before the key
-- expires), inbox; then what the claim says about itself, and its token.
local ALONE, ALONE_SIZE = '>c1c3c32I4I4I8I8c8', 68
local SPAN_MAX = 100000000000000
local NOBODY, SHARED = '--------------------------------', 'leasehold:shared'
local TOKENS_FROM_CLOCK, TOKEN_END = 1500000000000000, 9007199254740992
local CLAIMS_MAX, WAITING_MAX, SLACK = 10000, 5001000, 5000000
-- A foreign client tells nobody that it is done: the first in the queue looks this often.
local FOREIGN_LOOK = 100000
