// What a client is given, as its user would give it: an address, a key, and something to say.

export const url = process.env.PARLEY_URL; // http(s)://host:port/v1
export const websocketUrl = `${url.replace(/^http/, 'ws')}/realtime`;
export const key = process.env.PARLEY_KEY;

const rate = 24_000;
const chunkSamples = rate / 10;

// A long question makes a long answer, which leaves time to speak while it is heard.
export const longQuestion =
  'What do you know about ' + 'the ships that pass in the night, '.repeat(12) + 'dear?';
export const toolQuestion = 'Please call get_weather for me.';
export const weather = 'sunny, 21 degrees';

/** PCM16 at 24 kHz: first what the `energy` engine takes for speech, then silence. */
export function sound(speechS, silenceS) {
  const speech = Math.round(rate * speechS);
  const samples = new Int16Array(speech + Math.round(rate * silenceS));
  for (let index = 0; index < speech; index++) {
    samples[index] = 9_000 * Math.sin((2 * Math.PI * 300 * index) / rate);
  }
  return samples;
}

/** The audio in pieces of 100 ms, the last maybe shorter. */
export function* chunks(samples) {
  for (let at = 0; at < samples.length; at += chunkSamples) {
    const piece = samples.slice(at, at + chunkSamples);
    yield Buffer.from(piece.buffer);
  }
}

/** How long so much PCM16 at 24 kHz is. */
export const seconds = (bytes) => bytes / 2 / rate;

/** Notes an event for whoever must find out why a test failed. */
export function trace(event) {
  const short = (name, value) =>
    (name === 'delta' || name === 'audio') && value?.length > 40 ? `${value.slice(0, 40)}…` : value;
  console.error(JSON.stringify(event, short));
}

/** Tells the test what the client saw, and leaves. */
export function report(seen) {
  console.log(JSON.stringify(seen));
}

// Whoever runs a script gives it a little more time than this.
setTimeout(() => {
  throw new Error('the client did not come to an end in time');
}, 1_000 * Number(process.env.PARLEY_DEADLINE_S)).unref();
