// The steps of a lease on Redis, each of which happens as a whole. `engine.ts` says what they promise.

export const renewScript = `
local lead = redis.call('GET', KEYS[1])
if not lead then return 'no lead' end
if string.match(lead, '^[^|]*') ~= ARGV[1] then return 'lead ' .. string.match(lead, '^[^|]*') end
local holder = redis.call('HGET', KEYS[2], 'instance')
if not holder then return 'gone' end
if holder ~= ARGV[2] then return 'held' end
redis.call('HSET', KEYS[2], 'presence', ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 'ok ' .. redis.call('PTTL', KEYS[1])`;

export const claimScript = `
local lead = redis.call('GET', KEYS[1])
if not lead then return 'no lead' end
local epoch = string.match(lead, '^[^|]*')
if epoch ~= ARGV[1] then return 'lead ' .. epoch end
local holder = redis.call('HGET', KEYS[2], 'instance')
if holder and holder ~= '' and holder ~= ARGV[5] then return 'held' end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'instance', ARGV[2], 'presence', ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 'ok ' .. redis.call('PTTL', KEYS[1])`;

/** The same holder may lead on with another lease. */
const leadScript = `
local function holder(text) return string.match(text, '|(.*)|[^|]*$') end
local lead = redis.call('GET', KEYS[1])
if lead and lead ~= ARGV[1] then
  if holder(lead) ~= holder(ARGV[1]) then return 'held ' .. lead end
  if tonumber(string.match(lead, '^[^|]*')) > tonumber(string.match(ARGV[1], '^[^|]*')) then return 'held ' .. lead end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return lead == ARGV[1] and 'kept' or 'taken'`;

export const observeScript = `
local function lead()${leadScript}
end
local found = { lead() }
for at = 2, #KEYS do found[at] = redis.call('HGET', KEYS[at], 'presence') end
return found`;

export const leaveScript = `
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1`;

export const giveBackScript = `
if redis.call('HGET', KEYS[1], 'instance') ~= ARGV[1] then return 'held' end
redis.call('HSET', KEYS[1], 'instance', '', 'presence', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 'ok'`;
