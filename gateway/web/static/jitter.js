// The audio between the network and the ear: held until there is enough of it to ride out an
// uneven network, and more if that was not enough.

/** Samples of one speaker, item by item, in the order in which they come. */
export class JitterBuffer {
  /**
   * `rate` in Hz. Playing begins with `leastS` seconds at hand, or with all that an item has; each
   * time it runs dry in the middle of an item, it waits for half as much again, up to `mostS`.
   */
  constructor(rate, { leastS = 0.08, mostS = 0.5 } = {}) {
    this._rate = rate;
    this._enoughS = leastS;
    this._mostS = mostS;
    this._chunks = [];
    this._ended = new Set();
    this._played = new Map();
    this.underruns = 0;
    this.playing = null; // the item that is being heard
    this.waiting = 0; // samples at hand
  }

  /** How many samples of an item were played. */
  played(item) {
    return this._played.get(item) ?? 0;
  }

  /** Adds samples of an item. */
  push(item, samples) {
    if (!samples.length) return;
    this._chunks.push({ item, samples, at: 0 });
    this.waiting += samples.length;
  }

  /** No more of an item comes. */
  end(item) {
    this._ended.add(item);
  }

  /** Throws everything away that was not played. */
  clear() {
    this._chunks = [];
    this.waiting = 0;
    this.playing = null;
    this._ended.clear();
  }

  /** Fills `output` with what comes next, and silence where there is nothing. */
  pull(output) {
    output.fill(0);
    let filled = 0;
    if (this.playing === null && !this._ready()) return;
    while (filled < output.length && this._chunks.length) {
      filled += this._take(output.subarray(filled));
    }
    if (filled === output.length || this.playing === null) return;
    if (!this._ended.has(this.playing)) {
      this.underruns++;
      this._enoughS = Math.min(this._enoughS * 1.5, this._mostS);
    }
    this.playing = null;
  }

  /** Samples of the first chunk, as many as there is room for; returns how many. */
  _take(output) {
    const chunk = this._chunks[0];
    const piece = chunk.samples.subarray(chunk.at, chunk.at + output.length);
    output.set(piece);
    chunk.at += piece.length;
    this.waiting -= piece.length;
    if (this.playing !== chunk.item) {
      this._forget();
      this.playing = chunk.item;
    }
    this._played.set(chunk.item, this.played(chunk.item) + piece.length);
    if (chunk.at === chunk.samples.length) this._chunks.shift();
    return piece.length;
  }

  _ready() {
    if (!this._chunks.length) return false;
    return this._ended.has(this._chunks[0].item) || this.waiting >= this._enoughS * this._rate;
  }

  /** Keeps the counts of the last items only. */
  _forget() {
    const [oldest] = this._played.keys();
    if (this._played.size >= 8) this._played.delete(oldest);
    if (this._ended.size >= 8) this._ended.delete(this._ended.values().next().value);
  }
}
