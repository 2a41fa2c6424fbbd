import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Outbox } from '../../../gateway/web/static/outbox.js';

const MS = 24; // samples

/** Audio of one value. */
const audio = (ms, value) => new Int16Array(ms * MS).fill(value);

/** All that is handed out: requests as they are, audio as how many ms of which value. */
function drain(outbox) {
  const found = [];
  for (let entry; (entry = outbox.next()); ) {
    found.push(entry.text ?? [entry.samples.length / MS, entry.samples[0]]);
  }
  return found;
}

test('everything is handed out in order, once', () => {
  const outbox = new Outbox();
  outbox.addAudio(audio(20, 1));
  outbox.addRequest('commit');
  outbox.addAudio(audio(20, 2));
  assert.deepEqual(drain(outbox), [[20, 1], 'commit', [20, 2]]);
  assert.deepEqual(drain(outbox), []);
  assert.equal(outbox.samples, 40 * MS);
  assert.equal(outbox.requests, 1);
});

test('the example of docs/resuming.md', () => {
  const outbox = new Outbox();
  outbox.addRequest('session.update');
  outbox.addAudio(audio(1000, 1));
  outbox.addAudio(audio(1000, 2));
  outbox.addRequest('commit');
  drain(outbox);
  outbox.lost();
  outbox.addAudio(audio(400, 3));
  outbox.addRequest('response.create');
  assert.deepEqual(drain(outbox), [], 'nothing can be sent now');
  outbox.rewind(1, 900);
  assert.deepEqual(drain(outbox), [[100, 1], [1000, 2], 'commit', [400, 3], 'response.create']);
});

test('what was carried out is not sent again', () => {
  const outbox = new Outbox();
  outbox.addAudio(audio(100, 1));
  outbox.addRequest('commit');
  outbox.addRequest('response.create');
  drain(outbox);
  outbox.lost();
  outbox.rewind(1, 100);
  assert.deepEqual(drain(outbox), ['response.create']);
});

test('audio that is no longer kept is silence of the same length', () => {
  const outbox = new Outbox({ keptSamples: 100 * MS });
  for (let piece = 1; piece <= 5; piece++) outbox.addAudio(audio(50, piece));
  drain(outbox);
  outbox.lost();
  outbox.rewind(0, 30);
  const again = drain(outbox);
  assert.deepEqual(again.at(-1), [50, 5]);
  assert.deepEqual(again[0], [120, 0]);
  assert.equal(30 + again.reduce((total, [ms]) => total + ms, 0), 250);
});

test('a silence before a request keeps its place', () => {
  const outbox = new Outbox({ keptSamples: 0 });
  outbox.addAudio(audio(50, 1));
  outbox.addRequest('commit');
  drain(outbox);
  outbox.lost();
  outbox.rewind(0, 0);
  assert.deepEqual(drain(outbox), [[50, 0], 'commit']);
});

test('long audio goes out in pieces of a second', () => {
  const outbox = new Outbox();
  outbox.addAudio(audio(2500, 1));
  assert.deepEqual(drain(outbox), [[1000, 1], [1000, 1], [500, 1]]);
});

test('a server that claims too much, or lacks too much, ends the session', () => {
  const outbox = new Outbox({ keptRequests: 2 });
  outbox.addAudio(audio(10, 1));
  for (const request of ['a', 'b', 'c']) outbox.addRequest(request);
  outbox.lost();
  assert.throws(() => outbox.rewind(4, 0), /claims to have more/);
  assert.throws(() => outbox.rewind(3, 11), /claims to have more/);
  assert.throws(() => outbox.rewind(0, 0), /no longer kept/);
  outbox.rewind(1, 10);
  assert.deepEqual(drain(outbox), ['b', 'c']);
});

test('so many requests wait for a connection, and no more', () => {
  const outbox = new Outbox({ keptRequests: 2 });
  outbox.addRequest('before');
  drain(outbox);
  outbox.lost();
  outbox.addRequest('a');
  assert.equal(outbox.full, false);
  outbox.addRequest('b');
  assert.equal(outbox.full, true);
  outbox.rewind(0, 0);
  assert.equal(outbox.full, false);
  assert.deepEqual(drain(outbox), ['before', 'a', 'b']);
});
