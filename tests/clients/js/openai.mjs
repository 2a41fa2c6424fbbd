// The `openai` package: its Realtime connection over `ws`, which always is wss.

import OpenAI from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import {
  chunks,
  key,
  longQuestion,
  report,
  seconds,
  sound,
  toolQuestion,
  trace,
  url,
  weather,
} from './given.mjs';

const client = new OpenAI({ baseURL: url, apiKey: key });
const realtime = new OpenAIRealtimeWS({ model: 'gpt-realtime' }, client);

const arrived = [];
let wake = () => {};
realtime.on('event', (event) => {
  trace(event);
  arrived.push(event);
  wake();
});
realtime.on('error', (error) => {
  throw error;
});

/** The events up to the next of type `last`. */
async function until(last) {
  const events = [];
  for (;;) {
    while (arrived.length === 0) await new Promise((resolve) => (wake = resolve));
    events.push(arrived.shift());
    if (events.at(-1).type === last) return events;
  }
}

function speak(samples) {
  for (const chunk of chunks(samples)) {
    realtime.send({ type: 'input_audio_buffer.append', audio: chunk.toString('base64') });
  }
}

function ask(text) {
  realtime.send({
    type: 'conversation.item.create',
    item: { type: 'message', role: 'user', content: [{ type: 'input_text', text }] },
  });
  realtime.send({ type: 'response.create' });
}

/** What one response was. */
function heard(events) {
  const seen = { answer: '', audio_s: 0 };
  for (const event of events) {
    if (event.type === 'conversation.item.input_audio_transcription.completed') {
      seen.heard = event.transcript;
    } else if (event.type === 'response.output_audio_transcript.delta') {
      seen.answer += event.delta;
    } else if (event.type === 'response.output_audio.delta') {
      seen.audio_s += seconds(Buffer.from(event.delta, 'base64').length);
    } else if (event.type === 'response.done') {
      seen.status = event.response.status;
    }
  }
  return seen;
}

async function callTool() {
  ask(toolQuestion);
  const events = await until('response.done');
  const call = events.find((event) => event.type === 'response.function_call_arguments.done');
  realtime.send({
    type: 'conversation.item.create',
    item: { type: 'function_call_output', call_id: call.call_id, output: weather },
  });
  realtime.send({ type: 'response.create' });
  const answer = heard(await until('response.done'));
  return { name: call.name, arguments: call.arguments, ...answer };
}

async function interrupt() {
  ask(longQuestion);
  const begun = (await until('response.output_audio.delta')).at(-1);
  speak(sound(0.5, 0));
  const done = (await until('response.done')).at(-1).response;
  realtime.send({
    type: 'conversation.item.truncate',
    item_id: begun.item_id,
    content_index: 0,
    audio_end_ms: 100,
  });
  const truncated = (await until('conversation.item.truncated')).at(-1);
  speak(sound(0, 0.6));
  return {
    status: done.status,
    reason: done.status_details.reason,
    truncated_ms: truncated.audio_end_ms,
    after: heard(await until('response.done')),
  };
}

const seen = { first: (await until('session.created'))[0].type };
realtime.send({
  type: 'session.update',
  session: {
    type: 'realtime',
    instructions: 'Answer briefly.',
    tools: [
      {
        type: 'function',
        name: 'get_weather',
        description: 'The weather in a city.',
        parameters: {
          type: 'object',
          properties: { city: { type: 'string' } },
          required: ['city'],
        },
      },
    ],
    audio: {
      input: {
        transcription: { model: 'gpt-4o-mini-transcribe' },
        turn_detection: { type: 'server_vad', silence_duration_ms: 300 },
      },
    },
  },
});
await until('session.updated');
speak(sound(0.6, 0.6));
seen.spoken = heard(await until('response.done'));
ask('How do you do?');
seen.text = heard(await until('response.done'));
seen.tool = await callTool();
seen.interrupted = await interrupt();
const closed = new Promise((resolve) => realtime.socket.on('close', resolve));
realtime.close();
seen.closed = await closed;
report(seen);
