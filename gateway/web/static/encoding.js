// Audio as the protocol has it: PCM16 in little-endian, as base64 in JSON.

export const SAMPLE_RATE = 24_000; // Hz, both ways

const PIECE = 0x8000; // what a call takes as arguments

/** Float32 samples from -1 to 1 as Int16. Louder ones are clipped. */
export function toInt16(samples) {
  const result = new Int16Array(samples.length);
  for (let index = 0; index < samples.length; index++) {
    const clipped = Math.max(-1, Math.min(1, samples[index]));
    result[index] = Math.round(clipped * 0x7fff);
  }
  return result;
}

/** Int16 samples as Float32 from -1 to 1. */
export function toFloat32(samples) {
  return Float32Array.from(samples, (sample) => sample / 0x8000);
}

/** Int16 samples as base64 of PCM16. */
export function toBase64(samples) {
  const view = new DataView(new ArrayBuffer(samples.length * 2));
  samples.forEach((sample, index) => view.setInt16(index * 2, sample, true));
  const bytes = new Uint8Array(view.buffer);
  let binary = '';
  for (let at = 0; at < bytes.length; at += PIECE) {
    binary += String.fromCharCode(...bytes.subarray(at, at + PIECE));
  }
  return btoa(binary);
}

/** The Int16 samples in base64 of PCM16. */
export function fromBase64(text) {
  const binary = atob(text);
  const view = new DataView(new ArrayBuffer(binary.length));
  for (let index = 0; index < binary.length; index++) view.setUint8(index, binary.charCodeAt(index));
  return Int16Array.from({ length: binary.length >> 1 }, (_, index) =>
    view.getInt16(index * 2, true),
  );
}

/** Loudness from 0 to 1 for a meter: the root mean square over a range of 50 dB. */
export function loudness(samples) {
  if (!samples.length) return 0;
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const decibels = 10 * Math.log10(sum / samples.length + 1e-10);
  return Math.max(0, Math.min(1, 1 + decibels / 50));
}
