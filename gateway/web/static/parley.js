// One conversation with a Parley server, over as many connections as it takes.
//
//   const parley = new Parley({ url: 'https://voice.example', key: () => fetchEphemeralKey() });
//   parley.on('response.output_audio_transcript.delta', ({ delta }) => show(delta));
//   await parley.open();
//   parley.text('What is the capital of France?');
//   parley.respond();
//
// docs/page.md describes it. It needs encoding.js, outbox.js and socket.js beside it, nothing else.

import { toBase64 } from './encoding.js';
import { Outbox } from './outbox.js';
import { connect, Ended, isReady, refusal } from './socket.js';

const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 2_000;
// In a row, by a server that is ready: it does not know the session any more.
const MOST_REFUSALS = 5;
// A network that goes silent is noticed after their sum: browsers let no page send a ping.
const QUIET_MS = 8_000;
const ANSWER_MS = 5_000;

/** What a session is doing, as `state` and the event `state` say it. */
export const IDLE = 'idle';
export const CONNECTING = 'connecting';
export const CONNECTED = 'connected';
export const RESUMING = 'resuming';
export const OVER = 'over';

/**
 * A session with a server. Audio is Int16 mono at 24 kHz both ways. Methods send and return at
 * once; what the server makes of it comes as events, which `on` listens to by their type.
 *
 * Beside the protocol's: `event` for every one of them, `state` when `state` changes.
 */
export class Parley {
  /**
   * `url`: the server's, or that of its /v1/realtime. `key`: an API key or an ephemeral key, or a
   * function that returns one or a promise of one; it is asked once for each session.
   */
  constructor({ url, key = null, timings = false }) {
    this._url = realtimeUrl(url, timings);
    this._key = key;
    this._listeners = new Map();
    this._outbox = new Outbox();
    this._socket = null;
    this._ticket = null;
    this._after = '';
    this._quiet = null;
    this.state = IDLE;
    this.id = null;
    /** Why the session is over, for a person to read; null if it ended in good order. */
    this.problem = null;
  }

  /** Calls `listener` with each event of a type; returns a function that ends that. */
  on(type, listener) {
    const listeners = this._listeners.get(type) ?? new Set();
    this._listeners.set(type, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** Begins the session. Throws an Error with a sentence for a person if there is none. */
  async open() {
    this._become(CONNECTING);
    try {
      const key = typeof this._key === 'function' ? await this._key() : this._key;
      const protocols = key ? [`openai-insecure-api-key.${key}`] : [];
      const opened = await connect(this._url, protocols).catch(async (lost) => {
        throw (await refusal(this._url, key)) ?? lost;
      });
      if (this.state !== CONNECTING) return opened.close();
      this._use(opened);
    } catch (error) {
      this._end(error);
      throw error;
    }
  }

  /** Leaves; the server ends the session. Calling it again does nothing. */
  close() {
    this._socket?.close();
    this._end(null);
  }

  /** Appends what the user says: Int16 samples at 24 kHz. */
  audio(samples) {
    if (this.state === OVER) return;
    this._outbox.addAudio(samples);
    this._flush();
  }

  /** Sends any other event. Throws if the session is over, or too many wait for a connection. */
  send(type, fields = {}) {
    if (this.state === OVER) throw new Error('The session is over.');
    if (this._outbox.full) throw new Error('Too much waits for the connection to come back.');
    this._outbox.addRequest(JSON.stringify({ type, ...fields }));
    this._flush();
  }

  /** Changes the session's configuration: the fields given, as the protocol nests them. */
  update(session) {
    this.send('session.update', { session: { type: 'realtime', ...session } });
  }

  /** Adds a message of the user's to the conversation; this starts no response. */
  text(text) {
    const content = [{ type: 'input_text', text }];
    // The id is chosen here, so that a message sent again is known to be the same.
    const item = { id: newId(), type: 'message', role: 'user', content };
    this.send('conversation.item.create', { item });
  }

  /** Has the server answer; `response` overrides the session's configuration once. */
  respond(response = null) {
    this.send('response.create', response ? { response } : {});
  }

  /** How many milliseconds of audio were appended so far. */
  get audioMs() {
    return this._outbox.samples / 24;
  }

  // --- the connection ---

  _use(socket) {
    this._socket = socket;
    socket.onevent = (event) => this._take(event);
    socket.onend = (ended) => this._lost(ended);
    this._take(socket.first);
    if (this._socket !== socket) return; // who listens to the first event closed it
    this._become(CONNECTED);
    this._flush();
  }

  _flush() {
    let entry;
    while (this._socket !== null && (entry = this._outbox.next())) {
      this._socket.send(
        entry.text ??
          JSON.stringify({ type: 'input_audio_buffer.append', audio: toBase64(entry.samples) }),
      );
    }
  }

  _take(event) {
    this._after = event.event_id ?? this._after;
    this._listenForSilence();
    if (event.type === 'session.created') this._note(event.session);
    if (event.type === 'parley.session.resumed') this._rewind(event);
    this._tell('event', event);
    this._tell(event.type, event);
  }

  _note({ id, parley }) {
    this.id = id;
    this._ticket = parley?.resume ?? null;
    if (this._ticket) delete parley.resume; // whoever listens sees no token
    else this._outbox = new Outbox({ keptSamples: 0, keptRequests: 0 });
  }

  _rewind({ requests, audio_ms: audioMs }) {
    try {
      this._outbox.rewind(requests, audioMs);
    } catch (error) {
      this._socket.close();
      this._end(error);
    }
  }

  /** Asks for a sign of life where none comes, and gives the connection up if none follows. */
  _listenForSilence() {
    clearTimeout(this._quiet);
    if (!this._ticket) return;
    this._quiet = setTimeout(() => {
      this.update({});
      this._quiet = setTimeout(() => {
        this._socket?.giveUp('The connection has gone silent.');
      }, ANSWER_MS);
    }, QUIET_MS);
  }

  _lost(ended) {
    this._socket = null;
    this._outbox.lost();
    clearTimeout(this._quiet);
    if (ended.resumable && this._ticket) this._resume(ended.retryAfterMs);
    else this._end(ended.good ? null : ended);
  }

  async _resume(waitMs) {
    this._become(RESUMING);
    const until = performance.now() + 1000 * this._ticket.within_s;
    const address = new URL(this._url);
    address.searchParams.set('after', this._after);
    const protocols = [`parley-resume.${this.id}.${this._ticket.token}`];
    let refused = 0;
    for (let longest = FIRST_WAIT_MS; ; longest = Math.min(2 * longest, LONGEST_WAIT_MS)) {
      // Those who lost the same server do not all come back in the same moment.
      await pause(Math.max(waitMs, Math.random() * longest));
      if (this.state !== RESUMING) return;
      const connection = await connect(address, protocols).catch((lost) => {
        waitMs = lost.retryAfterMs;
      });
      if (connection) {
        if (this.state !== RESUMING) return connection.close();
        return this._use(connection);
      }
      refused = (await isReady(this._url)) ? refused + 1 : 0;
      if (refused === MOST_REFUSALS) {
        return this._end(new Ended('The connection broke, and the server has let the session go.'));
      }
      if (performance.now() > until) {
        return this._end(new Ended('The connection broke, and could not be made anew in time.'));
      }
    }
  }

  // --- what is told ---

  _become(state) {
    this.state = state;
    this._tell('state', state);
  }

  _end(problem) {
    if (this.state === OVER) return;
    clearTimeout(this._quiet);
    this._socket = null;
    this.problem = problem?.message ?? null;
    this._become(OVER);
  }

  _tell(type, what) {
    for (const listener of this._listeners.get(type) ?? []) listener(what);
  }
}

function realtimeUrl(url, timings) {
  const address = new URL(url, globalThis.document?.baseURI);
  address.protocol = address.protocol.replace('http', 'ws');
  if (!address.pathname.endsWith('/realtime')) {
    address.pathname = `${address.pathname.replace(/\/$/, '')}/v1/realtime`;
  }
  if (timings) address.searchParams.set('timings', 'true');
  return address;
}

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return `item_${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

function pause(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
