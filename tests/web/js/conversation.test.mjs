import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Conversation } from '../../../gateway/web/static/conversation.js';
import { median, newTurn, parts, stages, totalMs } from '../../../gateway/web/static/timing.js';

const message = (id, role, ...content) => ({ id, type: 'message', role, content });
const delta = (text) => ({
  type: 'response.output_audio_transcript.delta',
  item_id: 'answer',
  response_id: 'r',
  delta: text,
});

/** A conversation in which an answer has begun with these words. */
function answering(...words) {
  const conversation = new Conversation();
  conversation.take({
    type: 'response.output_item.added',
    response_id: 'r',
    item: message('answer', 'assistant'),
  });
  for (const word of words) conversation.take(delta(word));
  return conversation;
}

function done(status, heard, details = null) {
  const output = heard === null ? [] : [message('answer', 'assistant', { type: 'output_audio', transcript: heard })];
  return { type: 'response.done', response: { id: 'r', status, output, status_details: details } };
}

test('a spoken turn goes from speaking to its words', () => {
  const conversation = new Conversation();
  const states = [];
  conversation.onchange = ({ state, text }) => states.push(`${state}:${text}`);
  conversation.take({ type: 'input_audio_buffer.speech_started', item_id: 'q' });
  conversation.take({ type: 'input_audio_buffer.speech_stopped', item_id: 'q' });
  conversation.take({ type: 'conversation.item.added', item: message('q', 'user', { type: 'input_audio' }) });
  const transcription = 'conversation.item.input_audio_transcription';
  conversation.take({ type: `${transcription}.delta`, item_id: 'q', delta: 'Hello' });
  conversation.take({ type: `${transcription}.completed`, item_id: 'q', transcript: 'Hello.' });
  assert.deepEqual(states, ['speaking:', 'heard:', 'heard:Hello', 'done:Hello.']);
});

test('a noise leaves nothing', () => {
  const conversation = new Conversation();
  const removed = [];
  conversation.onremove = ({ id }) => removed.push(id);
  conversation.take({ type: 'input_audio_buffer.speech_started', item_id: 'q' });
  conversation.take({
    type: 'conversation.item.input_audio_transcription.completed',
    item_id: 'q',
    transcript: ' ',
  });
  assert.deepEqual(removed, ['q']);
});

test('what was cut off is known word by word', () => {
  const conversation = answering('One', ' two', ' three.');
  conversation.take({ type: 'response.output_audio.delta', item_id: 'answer' });
  conversation.take(done('cancelled', 'One two'));
  assert.equal(conversation.get('answer').state, 'cut');
  assert.equal(conversation.get('answer').heard, 'One two');
  const item = message('answer', 'assistant', { type: 'output_audio', transcript: 'One' });
  conversation.take({ type: 'conversation.item.retrieved', item });
  assert.equal(conversation.get('answer').heard, 'One', 'the page knows better than the server');
  assert.equal(conversation.get('answer').text, 'One two three.');
});

test('an answer that was heard to its end is not cut', () => {
  const conversation = answering('One.');
  conversation.take(done('completed', 'One.'));
  const item = message('answer', 'assistant', { type: 'output_audio', transcript: 'One.' });
  conversation.take({ type: 'conversation.item.retrieved', item });
  assert.equal(conversation.get('answer').state, 'done');
});

test('an answer to half a question, which nobody heard, goes away', () => {
  const conversation = answering('One');
  conversation.take(done('cancelled', ''));
  assert.equal(conversation.get('answer'), undefined);
});

test('an answer that failed says why', () => {
  const conversation = answering('One');
  conversation.take(done('failed', 'One', { type: 'failed', error: { message: 'out of order' } }));
  assert.equal(conversation.get('answer').problem, 'out of order');
});

const MARKS = { speech_end: 1000, turn_end: 1500, stt_start: 1510, stt_end: 1700, llm_start: 1700 };
const MORE = { llm_first_token: 1800, llm_first_segment: 1900, tts_start: 1900, tts_first_chunk: 2000 };

test('stages add up to what was heard', () => {
  const turn = { ...newTurn(50), heardAt: 1130, marks: { ...MARKS, ...MORE } };
  const found = stages(turn);
  assert.equal(found.reduce((sum, { ms }) => sum + ms, 0), totalMs(turn));
  assert.deepEqual(parts(turn), { pause: 500, hearing: 200, thinking: 200, speaking: 100, delivery: 80 });
  assert.equal(found.at(-1).startMs, 1000);
});

test('a mark that is missing leaves its time to the next stage', () => {
  const { llm_first_token: _, ...marks } = { ...MARKS, ...MORE };
  assert.equal(parts({ ...newTurn(0), heardAt: 1000, marks }).thinking, 200);
});

test('without marks the page says what it saw', () => {
  const turn = { ...newTurn(100), wordsAt: 300, audioAt: 400, heardAt: 450 };
  assert.deepEqual(parts(turn), { pause: 0, hearing: 0, thinking: 200, speaking: 100, delivery: 50 });
  assert.equal(totalMs(turn), 350);
});

test('the median', () => {
  assert.equal(median([]), null);
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
});
