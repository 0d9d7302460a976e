return answer
end

local answers = {}
for at = 1, #ARGV do
  local done, answer = pcall(renewed, KEYS[at], ARGV[at])
  -- What was an error is a mere text here, on most servers.
  if not done and type(answer) == 'string' then answer = { err = answer } end
  answers[at] = answer
end
return answers
