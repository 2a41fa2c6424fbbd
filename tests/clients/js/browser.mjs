// The `openai` package as browsers use it: the platform's own WebSocket, which sends no headers,
// and a key that was made for the visitor.

import OpenAI from 'openai';
import { OpenAIRealtimeWebSocket } from 'openai/realtime/websocket';
import { key, report, seconds, trace, url } from './given.mjs';

const secret = await new OpenAI({ baseURL: url, apiKey: key }).realtime.clientSecrets.create({
  session: { type: 'realtime', instructions: 'Answer briefly.' },
});
const visitor = new OpenAI({ baseURL: url, apiKey: secret.value });
const realtime = new OpenAIRealtimeWebSocket({ model: 'gpt-realtime' }, visitor);

const seen = { secret: secret.value.slice(0, 3), answer: '', audio_s: 0 };
realtime.on('event', trace);
realtime.on('error', (error) => {
  throw error;
});
realtime.on('session.created', ({ session }) => {
  seen.instructions = session.instructions;
  realtime.send({
    type: 'conversation.item.create',
    item: {
      type: 'message',
      role: 'user',
      content: [{ type: 'input_text', text: 'How do you do?' }],
    },
  });
  realtime.send({ type: 'response.create' });
});
realtime.on('response.output_audio.delta', ({ delta }) => {
  seen.audio_s += seconds(Buffer.from(delta, 'base64').length);
});
realtime.on('response.output_audio_transcript.done', ({ transcript }) => {
  seen.answer = transcript;
});
realtime.on('response.done', ({ response }) => {
  seen.status = response.status;
  realtime.close();
});
realtime.socket.addEventListener('close', ({ code }) => report({ ...seen, closed: code }));
