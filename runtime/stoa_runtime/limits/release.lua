-- Gives slots back. KEYS: of the slots. ARGV: the admission's id.
for i = 1, #KEYS do
  redis.call('ZREM', KEYS[i], ARGV[1])
end
return {0}
