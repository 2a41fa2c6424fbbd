-- Finishes the transcription of a turn: the transcript is shown and becomes the item's text
-- whatever the epoch; an answer is begun only if the user has not spoken on.
-- KEYS: jobs, session, out, response, llm jobs, items, order
-- ARGV: …, group, consumer, entry, attempt, epoch, messages, item id, item, "1" to respond,
--       response id, message, job
local stream, session, out, response, llm, items, order = unpack(KEYS)
local group, consumer, entry, attempt, epoch = arg(), arg(), arg(), arg(), arg()
local messages, item_id, item = args(), arg(), arg()
local respond = arg() == '1'
if not owns(stream, group, consumer, entry, attempt) then return 'lost' end
settle(stream, group, entry)
if redis.call('EXISTS', session) == 0 then return 'gone' end
replace_item(items, item_id, item)
show(session, out, messages)
transcribed(session, entry)
if not respond then return 'ok' end
local keys = {
  session = session, out = out, response = response, llm = llm, items = items, order = order,
}
return create_response(keys, epoch, arg(), arg(), arg())
