import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  fromBase64,
  loudness,
  toBase64,
  toFloat32,
  toInt16,
} from '../../../gateway/web/static/encoding.js';
import { Resampler } from '../../../gateway/web/static/resample.js';

/** A tone of half the full scale. */
function tone(hz, rate, samples) {
  return Float32Array.from({ length: samples }, (_, at) => 0.5 * Math.sin((2 * Math.PI * hz * at) / rate));
}

function inPieces(resampler, samples, size) {
  const output = [];
  for (let at = 0; at < samples.length; at += size) {
    output.push(...resampler.push(samples.subarray(at, at + size)));
  }
  return output;
}

/** The largest difference, away from the beginning. */
function difference(found, expected) {
  let most = 0;
  for (let at = 100; at < found.length; at++) most = Math.max(most, Math.abs(found[at] - expected[at]));
  return most;
}

test('PCM16 is little-endian, in base64', () => {
  assert.equal(toBase64(Int16Array.of(1, -2, 0x1234)), Buffer.from([1, 0, 254, 255, 0x34, 0x12]).toString('base64'));
});

test('what is encoded comes back', () => {
  const samples = Int16Array.from({ length: 100_000 }, (_, at) => (at * 7919) % 65_536);
  assert.deepEqual(fromBase64(toBase64(samples)), samples);
});

test('floats become integers and back, and what is too loud is clipped', () => {
  assert.deepEqual(toInt16(Float32Array.of(0, 1, -1, 3, -3)), Int16Array.of(0, 32767, -32767, 32767, -32767));
  assert.deepEqual(toFloat32(Int16Array.of(0, -32768, 16384)), Float32Array.of(0, -1, 0.5));
});

test('loudness spans 50 dB', () => {
  assert.equal(loudness(new Float32Array(100)), 0);
  assert.equal(loudness(new Float32Array(100).fill(1)), 1);
  assert.ok(Math.abs(loudness(new Float32Array(100).fill(10 ** (-25 / 20))) - 0.5) < 1e-3);
});

for (const [from, to] of [
  [48_000, 24_000],
  [44_100, 24_000],
  [16_000, 24_000],
  [24_000, 48_000],
  [24_000, 44_100],
  [24_000, 96_000],
]) {
  test(`a tone at ${from} Hz is the same tone at ${to} Hz`, () => {
    const found = inPieces(new Resampler(from, to), tone(1_000, from, from / 4), 128);
    assert.ok(Math.abs(found.length - to / 4) < 80, `${found.length} samples`);
    assert.ok(difference(found, tone(1_000, to, found.length)) < 1e-3);
  });
}

test('what a lower rate cannot have is not folded back', () => {
  const found = inPieces(new Resampler(48_000, 24_000), tone(16_000, 48_000, 12_000), 128);
  assert.ok(Math.max(...found.slice(100).map(Math.abs)) < 1e-3);
});

test('pieces of any size give the same samples', () => {
  const samples = tone(440, 44_100, 4_410);
  const whole = new Resampler(44_100, 24_000).push(samples);
  assert.deepEqual(inPieces(new Resampler(44_100, 24_000), samples, 37), [...whole]);
});

test('at the same rate nothing is changed', () => {
  const samples = tone(440, 24_000, 100);
  assert.deepEqual(new Resampler(24_000, 24_000).push(samples), samples);
});
