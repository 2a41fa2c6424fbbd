// Plays what it is sent, in the audio thread, where nothing that the page does makes it stutter.

import { SAMPLE_RATE, loudness } from './encoding.js';
import { JitterBuffer } from './jitter.js';
import { Resampler } from './resample.js';

const TOLD_EVERY_S = 0.05;

class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    this._buffer = new JitterBuffer(sampleRate);
    this._resampler = new Resampler(SAMPLE_RATE, sampleRate);
    this._last = 0; // the sample that was heard last
    this._told = { atS: 0, playing: null };
    this.port.onmessage = ({ data }) => this._obey(data);
  }

  process(_, [[first, ...others]]) {
    this._buffer.pull(first);
    const { playing } = this._buffer;
    if (playing === null) this._fade(first);
    this._last = first.at(-1);
    for (const channel of others) channel.set(first);
    const due = playing !== null && currentTime - this._told.atS >= TOLD_EVERY_S;
    if (due || playing !== this._told.playing) this._tell(playing, loudness(first));
    return true;
  }

  _obey({ kind, item, samples }) {
    if (kind === 'audio') this._buffer.push(item, this._resampler.push(samples));
    if (kind === 'end') this._buffer.end(item);
    if (kind === 'cut') {
      this._buffer.clear();
      this._resampler = new Resampler(SAMPLE_RATE, sampleRate);
      this.port.postMessage({ kind: 'cut', item, playedMs: this._playedMs(item) });
    }
  }

  /** Where a voice was cut off, lets its wave run out: an edge would be heard as a click. */
  _fade(output) {
    if (output[0] !== 0 || this._last === 0) return;
    const steps = output.length;
    for (let at = 0; at < steps; at++) output[at] = this._last * (1 - (at + 1) / steps);
  }

  _tell(playing, level) {
    const item = playing ?? this._told.playing;
    this._told = { atS: currentTime, playing };
    const { underruns } = this._buffer;
    this.port.postMessage({
      kind: 'heard',
      playing,
      item,
      level: playing === null ? 0 : level,
      playedMs: this._playedMs(item),
      underruns,
    });
  }

  _playedMs(item) {
    return (1000 * this._buffer.played(item)) / sampleRate;
  }
}

registerProcessor('playback', Playback);
