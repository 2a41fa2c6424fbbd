import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JitterBuffer } from '../../../gateway/web/static/jitter.js';

const RATE = 1_000; // a sample is a millisecond
const QUANTUM = 10;

const ones = (length) => new Float32Array(length).fill(1);

/** Pulls so many samples; returns how many of them were heard. */
function pull(buffer, samples) {
  let heard = 0;
  for (let pulled = 0; pulled < samples; pulled += QUANTUM) {
    const output = new Float32Array(QUANTUM);
    buffer.pull(output);
    heard += output.reduce((count, sample) => count + sample, 0);
  }
  return heard;
}

test('waits for enough before it begins', () => {
  const buffer = new JitterBuffer(RATE, { leastS: 0.08 });
  buffer.push('a', ones(70));
  assert.equal(pull(buffer, 50), 0);
  buffer.push('a', ones(10));
  assert.equal(pull(buffer, 50), 50);
  assert.equal(buffer.playing, 'a');
});

test('waits for no more of what has ended', () => {
  const buffer = new JitterBuffer(RATE, { leastS: 0.08 });
  buffer.push('a', ones(25));
  buffer.end('a');
  assert.equal(pull(buffer, 50), 25);
  assert.equal(buffer.playing, null);
  assert.equal(buffer.underruns, 0);
});

test('counts what was played of each item', () => {
  const buffer = new JitterBuffer(RATE, { leastS: 0.02 });
  buffer.push('a', ones(25));
  buffer.push('b', ones(100));
  assert.equal(pull(buffer, 40), 40);
  assert.equal(buffer.played('a'), 25);
  assert.equal(buffer.played('b'), 15);
  assert.equal(buffer.playing, 'b');
});

test('waits for more after it ran dry, up to a bound', () => {
  const buffer = new JitterBuffer(RATE, { leastS: 0.04, mostS: 0.05 });
  for (const [enough, underruns] of [
    [40, 1],
    [50, 2],
    [50, 3],
  ]) {
    buffer.push('a', ones(enough - 1));
    assert.equal(pull(buffer, 20), 0, `less than ${enough} is not enough`);
    buffer.push('a', ones(1));
    assert.equal(pull(buffer, enough + 20), enough);
    assert.equal(buffer.underruns, underruns);
  }
});

test('what is cut off is gone, and what was heard of it is known', () => {
  const buffer = new JitterBuffer(RATE, { leastS: 0.02 });
  buffer.push('a', ones(100));
  pull(buffer, 30);
  buffer.clear();
  assert.equal(pull(buffer, 50), 0);
  assert.equal(buffer.played('a'), 30);
  assert.equal(buffer.waiting, 0);
  buffer.push('b', ones(20));
  assert.equal(pull(buffer, 20), 20);
});
