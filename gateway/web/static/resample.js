// Another sample rate: a windowed sinc, with one filter for each of the few places between two
// input samples that an output sample can fall on (J. O. Smith, "Digital Audio Resampling").

const ZERO_CROSSINGS = 16; // on each side

/** Resamples a stream of Float32 samples, piece by piece. */
export class Resampler {
  /** `from`, `to`: whole rates in Hz. */
  constructor(from, to) {
    const common = divisor(from, to);
    this._up = to / common;
    this._down = from / common;
    const cutoff = Math.min(1, to / from);
    this._reach = Math.ceil(ZERO_CROSSINGS / cutoff);
    this._filters = Array.from({ length: this._up }, (_, phase) =>
      filter(phase / this._up, this._reach, cutoff),
    );
    this._kept = new Float32Array(this._reach - 1); // silence, so that nothing is delayed
    this._phase = 0;
  }

  /** What comes of further samples; the last few wait for those after them. */
  push(samples) {
    if (this._up === this._down) return samples;
    const input = new Float32Array(this._kept.length + samples.length);
    input.set(this._kept);
    input.set(samples, this._kept.length);
    const taps = 2 * this._reach;
    const output = [];
    let at = 0;
    while (at + taps <= input.length) {
      const weights = this._filters[this._phase];
      let sum = 0;
      for (let tap = 0; tap < taps; tap++) sum += weights[tap] * input[at + tap];
      output.push(sum);
      this._phase += this._down;
      at += Math.floor(this._phase / this._up);
      this._phase %= this._up;
    }
    this._kept = input.slice(at);
    return Float32Array.from(output);
  }
}

/** The weights of 2 * `reach` samples for a point that is `fraction` after the middle one. */
function filter(fraction, reach, cutoff) {
  const weights = Float32Array.from({ length: 2 * reach }, (_, tap) => {
    const x = tap - (reach - 1) - fraction;
    return sinc(cutoff * x) * blackman(x / reach);
  });
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function blackman(x) {
  return 0.42 + 0.5 * Math.cos(Math.PI * x) + 0.08 * Math.cos(2 * Math.PI * x);
}

function divisor(one, other) {
  return other === 0 ? one : divisor(other, one % other);
}
