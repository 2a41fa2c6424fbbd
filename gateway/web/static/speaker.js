// The speaker: plays items' audio through a jitter buffer, and knows what of it was heard.

import { toFloat32 } from './encoding.js';

export class Speaker {
  /** `onheard` is called about 20 times a second while something is heard, and when that changes:
   * with the item that is `playing`, or null, and its `level` from 0 to 1. */
  constructor(context, onheard) {
    this._context = context;
    this._onheard = onheard;
    this._node = null;
    this._waiting = new Map();
    this.playing = null;
  }

  async start() {
    await this._context.audioWorklet.addModule(new URL('playback-worklet.js', import.meta.url));
    this._node = new AudioWorkletNode(this._context, 'playback', {
      numberOfInputs: 0,
      outputChannelCount: [2],
    });
    this._node.port.onmessage = ({ data }) => this._take(data);
    this._node.connect(this._context.destination);
  }

  /** How long a sample takes from here to the ear, in ms, as far as the browser knows. */
  get latencyMs() {
    return 1000 * (this._context.outputLatency || this._context.baseLatency || 0);
  }

  /** Adds Int16 samples at 24 kHz of an item. */
  play(item, samples) {
    const audio = toFloat32(samples);
    this._node.port.postMessage({ kind: 'audio', item, samples: audio }, [audio.buffer]);
  }

  /** No more of an item comes. */
  end(item) {
    this._node.port.postMessage({ kind: 'end', item });
  }

  /** Falls silent at once; resolves with how many ms of the item were heard. */
  cut(item) {
    return new Promise((resolve) => {
      this._waiting.set(item, resolve);
      this._node.port.postMessage({ kind: 'cut', item });
    });
  }

  /** Chooses the device, where the browser can; "" is the usual one. */
  async choose(deviceId) {
    await this._context.setSinkId?.(deviceId);
  }

  _take(told) {
    if (told.kind === 'cut') {
      this._waiting.get(told.item)?.(Math.max(0, told.playedMs - this.latencyMs));
      this._waiting.delete(told.item);
      return;
    }
    this.playing = told.playing;
    this._onheard(told);
  }
}
