// What a client sends, and keeps so that it can send it again. docs/resuming.md says why.

import { SAMPLE_RATE } from './encoding.js';

export const KEPT_AUDIO_S = 60; // what is older is silence if it is needed again
export const KEPT_REQUESTS = 256; // and how many more may wait for a connection

const PIECE = SAMPLE_RATE; // the most audio in one event

/**
 * A session's audio and requests in the order in which they are sent: no I/O.
 *
 * `next` hands out what is to be sent: `{ position, samples }` or `{ position, number, text }`,
 * where `position` is that of the first sample in the session. While the connection is gone
 * (`lost`) it hands out nothing, and what is put in waits; `rewind` goes back to what the server
 * has, and the rest is handed out once more, in the same order.
 */
export class Outbox {
  constructor({ keptSamples = KEPT_AUDIO_S * SAMPLE_RATE, keptRequests = KEPT_REQUESTS } = {}) {
    this._keptSamples = keptSamples;
    this._keptRequests = keptRequests;
    this.samples = 0;
    this.requests = 0;
    this._audio = [];
    this._requests = [];
    this._waiting = [];
    this._requestsBeforeLoss = null; // null: connected
  }

  /** Whether no more requests may wait for a connection. */
  get full() {
    const before = this._requestsBeforeLoss;
    return before !== null && this.requests - before >= this._keptRequests;
  }

  /** Puts in Int16 samples at 24 kHz. */
  addAudio(samples) {
    for (let at = 0; at < samples.length; at += PIECE) {
      const audio = { position: this.samples, samples: samples.slice(at, at + PIECE) };
      this.samples = end(audio);
      this._audio.push(audio);
      this._wait(audio);
    }
    while (this._audio.length && this.samples - end(this._audio[0]) >= this._keptSamples) {
      this._audio.shift();
    }
  }

  /** Puts in the JSON of a client event that is not audio. */
  addRequest(text) {
    const request = { position: this.samples, number: ++this.requests, text };
    this._requests.push(request);
    this._wait(request);
    // Any of those sent last may be needed again, however many come while nothing can be sent.
    if (this._requestsBeforeLoss === null) this._forget();
  }

  /** What is to be sent now; undefined if there is nothing. */
  next() {
    return this._waiting.shift();
  }

  /** Nothing can be sent until `rewind`. */
  lost() {
    if (this._requestsBeforeLoss !== null) return;
    this._requestsBeforeLoss = this.requests;
    this._waiting = [];
  }

  /**
   * Goes on after what the server has: `requests` requests, and audio up to `audioMs`. Throws if
   * that is more than was sent, or less than can be sent again.
   */
  rewind(requests, audioMs) {
    const position = Math.floor((audioMs * SAMPLE_RATE) / 1000);
    if (requests > this.requests || position > this.samples) {
      throw new Error('The server claims to have more than was sent.');
    }
    if (this.requests - requests > this._requests.length) {
      throw new Error('The server lacks requests that are no longer kept.');
    }
    this._waiting = [...this._again(requests, position)];
    this._requestsBeforeLoss = null;
    this._forget();
  }

  /** What a server lacks. Audio that is no longer kept is silence of the same length. */
  *_again(requests, position) {
    let at = position;
    for (const entry of this._inOrder()) {
      if (entry.samples ? end(entry) <= at : entry.number <= requests) continue;
      while (at < entry.position) {
        const length = Math.min(PIECE, entry.position - at);
        yield { position: at, samples: new Int16Array(length) };
        at += length;
      }
      if (entry.samples) {
        yield { position: at, samples: entry.samples.subarray(at - entry.position) };
        at = end(entry);
      } else {
        yield entry;
      }
    }
  }

  /** Of two at one position the request comes first: audio that went before it ends there. */
  *_inOrder() {
    let next = 0;
    for (const audio of this._audio) {
      while (next < this._requests.length && this._requests[next].position <= audio.position) {
        yield this._requests[next++];
      }
      yield audio;
    }
    yield* this._requests.slice(next);
  }

  _wait(entry) {
    if (this._requestsBeforeLoss === null) this._waiting.push(entry);
  }

  _forget() {
    this._requests.splice(0, Math.max(0, this._requests.length - this._keptRequests));
  }
}

function end(audio) {
  return audio.position + audio.samples.length;
}
