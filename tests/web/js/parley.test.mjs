// The session, with a server that says what a test has it say.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { Parley } from '../../../gateway/web/static/parley.js';

const TOKEN = 'secret';
const dialled = [];
let ready;

/** A browser's WebSocket: what is sent is kept, and `say`, `end` are what its server does. */
class FakeWebSocket {
  static OPEN = 1;

  constructor(url, protocols) {
    Object.assign(this, { url: new URL(url), protocols, sent: [], readyState: 1, closed: null });
    dialled.push(this);
    dialled.waiting?.(this);
  }

  send(text) {
    const event = JSON.parse(text);
    this.sent.push(event.type === 'input_audio_buffer.append' ? 'audio' : event.type);
  }

  close(code) {
    this.closed = code ?? 1005;
  }

  say(type, fields = {}) {
    this.onmessage?.({ data: JSON.stringify({ type, ...fields }) });
  }

  end(code) {
    this.onclose?.({ code, reason: '' });
  }
}

globalThis.WebSocket = FakeWebSocket;
globalThis.fetch = async () => ({ ok: ready });

beforeEach(() => {
  dialled.length = 0;
  dialled.waiting = null;
  ready = false;
});

/** The next connection that is tried. */
const next = () => new Promise((resolve) => (dialled.waiting = resolve));

async function opened() {
  const parley = new Parley({ url: 'http://voice.example', key: 'k' });
  const opening = parley.open();
  await new Promise(setImmediate);
  const [socket] = dialled;
  const resume = { token: TOKEN, within_s: 60 };
  socket.say('session.created', { event_id: 'e1', session: { id: 'sess_1', parley: { resume } } });
  await opening;
  return { parley, socket };
}

test('it connects with its key, and keeps the token to itself', async () => {
  const seen = [];
  const parley = new Parley({ url: 'https://voice.example/app/', key: async () => 'ek_1' });
  parley.on('event', (event) => seen.push(JSON.stringify(event)));
  const opening = parley.open();
  await new Promise(setImmediate);
  const [socket] = dialled;
  assert.equal(socket.url.href, 'wss://voice.example/app/v1/realtime');
  assert.deepEqual(socket.protocols, ['realtime', 'openai-insecure-api-key.ek_1']);
  const resume = { token: TOKEN, within_s: 60 };
  socket.say('session.created', { session: { id: 'sess_1', parley: { resume } } });
  await opening;
  assert.equal(parley.state, 'connected');
  assert.ok(!seen.join().includes(TOKEN));
  parley.close();
  assert.equal(socket.closed, 1000);
  assert.equal(parley.problem, null);
});

test('it resumes after the last event, and sends what was lost in order', async () => {
  const { parley, socket } = await opened();
  parley.update({});
  parley.audio(new Int16Array(2400));
  socket.say('session.updated', { event_id: 'e2' });
  const coming = next();
  socket.end(1006);
  assert.equal(parley.state, 'resuming');
  parley.send('input_audio_buffer.commit');
  const second = await coming;
  assert.equal(second.url.searchParams.get('after'), 'e2');
  assert.deepEqual(second.protocols, ['realtime', `parley-resume.sess_1.${TOKEN}`]);
  second.say('parley.session.resumed', { event_id: 'e3', requests: 1, audio_ms: 50, session: {} });
  await new Promise(setImmediate);
  assert.equal(parley.state, 'connected');
  assert.deepEqual(second.sent, ['audio', 'input_audio_buffer.commit']);
  parley.close();
});

test('it tries again while nobody answers', async () => {
  const { parley, socket } = await opened();
  let coming = next();
  socket.end(1012);
  for (let attempt = 0; attempt < 3; attempt++) {
    const failing = await coming;
    coming = next();
    failing.end(1006);
  }
  const last = await coming;
  last.say('parley.session.resumed', { event_id: 'e2', requests: 0, audio_ms: 0, session: {} });
  await new Promise(setImmediate);
  assert.equal(parley.state, 'connected');
  parley.close();
});

for (const [code, why] of [
  [4001, 'was taken over'],
  [1000, 'has ended'],
]) {
  test(`it does not come back to a session that ${why}`, async () => {
    const { parley, socket } = await opened();
    socket.end(code);
    assert.equal(parley.state, 'over');
    assert.equal(parley.problem === null, code === 1000);
    assert.throws(() => parley.respond(), /over/);
  });
}

test('it gives up where a server that is ready refuses it', async () => {
  const { parley, socket } = await opened();
  ready = true;
  const over = new Promise((resolve) => {
    parley.on('state', (state) => state === 'over' && resolve());
  });
  dialled.waiting = (each) => setImmediate(() => each.end(1006));
  socket.end(1006);
  await over;
  assert.match(parley.problem, /let the session go/);
});

test('a server that claims too much ends it', async () => {
  const { parley, socket } = await opened();
  const coming = next();
  socket.end(1006);
  const second = await coming;
  second.say('parley.session.resumed', { event_id: 'e2', requests: 9, audio_ms: 0, session: {} });
  await new Promise(setImmediate);
  assert.equal(parley.state, 'over');
  assert.match(parley.problem, /claims to have more/);
});

test('closing while it resumes ends it', async () => {
  const { parley, socket } = await opened();
  socket.end(1006);
  parley.close();
  assert.equal(parley.state, 'over');
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.equal(dialled.length, 1);
});
