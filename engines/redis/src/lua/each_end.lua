return answer
end

local answers = {}
for at = 1, #ARGV / of do
  local from = (at - 1) * of
  local done, answer = pcall(each, KEYS[at], unpack(ARGV, from + 1, from + of))
  -- What was an error is a mere text here, on most servers.
  if not done and type(answer) == 'string' then answer = { err = answer } end
  answers[at] = answer
end
return answers
