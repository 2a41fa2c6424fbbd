// Takes what the microphone hears, in the audio thread, in frames of 20 ms at 24 kHz.

import { SAMPLE_RATE, loudness, toInt16 } from './encoding.js';
import { Resampler } from './resample.js';

const FRAME = SAMPLE_RATE / 50;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this._resampler = new Resampler(sampleRate, SAMPLE_RATE);
    this._frame = new Float32Array(FRAME);
    this._filled = 0;
  }

  process([[mono]]) {
    if (mono === undefined) return true; // the microphone is being changed
    for (const sample of this._resampler.push(mono)) {
      this._frame[this._filled++] = sample;
      if (this._filled === FRAME) this._send();
    }
    return true;
  }

  _send() {
    const samples = toInt16(this._frame);
    this.port.postMessage({ samples, level: loudness(this._frame) }, [samples.buffer]);
    this._filled = 0;
  }
}

registerProcessor('capture', Capture);
