// The module as others' pages use it, before a real server: prints what it saw as JSON.

import { fromBase64 } from '../../../gateway/web/static/encoding.js';
import { Parley } from '../../../gateway/web/static/parley.js';

const [url, key] = process.argv.slice(2);
const seen = { states: [], answer: '', samples: 0 };

const refused = new Parley({ url, key: 'wrong' });
await refused.open().catch((error) => {
  seen.refused = { status: error.status, message: error.message };
});

const parley = new Parley({ url, key: async () => key, timings: true });
parley.on('state', (state) => seen.states.push(state));
parley.on('response.output_audio_transcript.delta', ({ delta }) => {
  seen.answer += delta;
});
parley.on('response.output_audio.delta', ({ delta }) => {
  seen.samples += fromBase64(delta).length;
});
parley.on('parley.timings', ({ marks }) => {
  seen.marks = Object.keys(marks);
  parley.close();
  console.log(JSON.stringify(seen));
});
await parley.open();
parley.text('How do you do');
parley.respond();
