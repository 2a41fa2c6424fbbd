// @openai/agents-realtime: an agent with a tool, over the WebSocket transport, on its own settings.

import { RealtimeAgent, RealtimeSession, tool } from '@openai/agents-realtime';
import { z } from 'zod';
import {
  chunks,
  key,
  longQuestion,
  report,
  seconds,
  sound,
  toolQuestion,
  trace,
  weather,
  websocketUrl,
} from './given.mjs';

const called = [];
const getWeather = tool({
  name: 'get_weather',
  description: 'The weather in a city.',
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => {
    called.push(city);
    return weather;
  },
});

const french = new RealtimeAgent({ name: 'french', instructions: 'Answer in French.' });
const agent = new RealtimeAgent({
  name: 'Weather',
  instructions: 'Answer briefly.',
  tools: [getWeather],
  handoffs: [french],
});
const session = new RealtimeSession(agent, { transport: 'websocket' });

const arrived = [];
let wake = () => {};
const kinds = new Set();
const problems = [];
let heard = '';
let answer = '';
let audioBytes = 0;

function arrive(event) {
  arrived.push(event);
  wake();
}

session.on('transport_event', (event) => {
  trace(event);
  arrive(event);
});
session.on('audio', ({ data }) => arrive({ type: 'audio', bytes: data.byteLength }));
session.on('error', (error) => problems.push(JSON.stringify(error)));
for (const kind of ['agent_tool_start', 'agent_tool_end', 'audio_interrupted', 'audio_stopped']) {
  session.on(kind, () => kinds.add(kind));
}

function note(event) {
  if (event.type === 'conversation.item.input_audio_transcription.completed') {
    heard = event.transcript;
  } else if (event.type === 'response.output_audio_transcript.delta') {
    answer += event.delta;
  } else if (event.type === 'audio') {
    audioBytes += event.bytes;
  }
}

/** The next event of each of these kinds from the server, in whichever order. */
async function allOf(...wanted) {
  const came = {};
  while (Object.keys(came).length < wanted.length) {
    while (arrived.length === 0) await new Promise((resolve) => (wake = resolve));
    const event = arrived.shift();
    note(event);
    if (wanted.includes(event.type)) came[event.type] ??= event;
  }
  return wanted.map((kind) => came[kind]);
}

/** The next event of type `kind` from the server. */
const until = async (kind) => (await allOf(kind))[0];

function speak(samples) {
  for (const chunk of chunks(samples)) {
    const { buffer, byteOffset, byteLength } = chunk;
    session.sendAudio(buffer.slice(byteOffset, byteOffset + byteLength));
  }
}

/** What the next response with words in it was. */
async function answered() {
  [heard, answer, audioBytes] = ['', '', 0];
  let done;
  do {
    done = (await until('response.done')).response;
  } while (!done.output[0].content?.length);
  return { heard, answer, audio_s: seconds(audioBytes), status: done.status };
}

/** Speaks while an answer is heard; what is to be done then is the SDK's. */
async function interrupt() {
  session.sendMessage(longQuestion);
  await until('response.output_audio.delta');
  speak(sound(0.5, 0));
  const [{ response }, truncated] = await allOf('response.done', 'conversation.item.truncated');
  while ((await until('conversation.item.retrieved')).item.id !== truncated.item_id);
  speak(sound(0, 5));
  return {
    status: response.status,
    reason: response.status_details.reason,
    truncated_ms: truncated.audio_end_ms,
    after: await answered(),
  };
}

async function handOff() {
  session.sendMessage('Please call transfer_to_french.');
  const { instructions } = (await until('session.updated')).session;
  return { to: session.currentAgent.name, instructions, ...(await answered()) };
}

/** Changes what was said first, which has to be taken out and put in again. */
async function rewrite() {
  const before = session.history.map((item) => item.itemId);
  const place = session.history.findIndex((item) => item.content?.[0].text === 'How do you do?');
  session.updateHistory((history) => [
    ...history.slice(0, place),
    { ...history[place], content: [{ type: 'input_text', text: 'How are you?' }] },
    ...history.slice(place + 1),
  ]);
  const [deleted, added] = await allOf('conversation.item.deleted', 'conversation.item.added');
  return {
    deleted: deleted.item_id === before[place],
    added: added.item.id === before[place] && added.previous_item_id === before[place - 1],
    text: added.item.content[0].text,
    kept: JSON.stringify(session.history.map((item) => item.itemId)) === JSON.stringify(before),
  };
}

await session.connect({ apiKey: key, url: websocketUrl });
await until('session.updated');
await until('session.updated');
const seen = {};
speak(sound(0.6, 5));
seen.spoken = await answered();
session.sendMessage('How do you do?');
seen.text = await answered();
session.sendMessage(toolQuestion);
seen.tool = await answered();
seen.interrupted = await interrupt();
seen.rewritten = await rewrite();
seen.handed_off = await handOff();
const history = session.history.map((item) => `${item.type} ${item.role ?? ''}`.trim());
session.close();
report({ ...seen, called, kinds: [...kinds].sort(), problems, history });
