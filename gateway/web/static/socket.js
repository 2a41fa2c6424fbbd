// One connection: a WebSocket that has said its first event, and what the end of one means.

const CONNECT_MS = 10_000;
const GIVEN_UP = 4000; // any code that is no goodbye: the session waits
const GOODBYE = 1000;
// No close frame, internal error, restart, try later: after these a session can be resumed.
const WAITING = new Set([1006, 1011, 1012, 1013]);
const TRY_AGAIN_LATER = 1013;
const TRY_AGAIN_LATER_MS = 1_000;

/** A connection or a session is over; the message is for a person to read. */
export class Ended extends Error {
  constructor(message, { good = false, resumable = false, retryAfterMs = 0 } = {}) {
    super(message);
    this.good = good;
    this.resumable = resumable;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Connects and waits for the first event. Rejects with `Ended`. */
export function connect(url, protocols) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, ['realtime', ...protocols]);
    const connection = new Connection(socket);
    const late = setTimeout(() => {
      connection.giveUp('The server did not answer in time.');
    }, CONNECT_MS);
    connection.onend = (ended) => {
      clearTimeout(late);
      reject(ended);
    };
    connection.onevent = (event) => {
      clearTimeout(late);
      connection.first = event;
      connection.onevent = null;
      resolve(connection);
    };
  });
}

/**
 * Why a server lets nobody in, as far as it says so to a page: a browser does not tell what a
 * WebSocket was refused with, so the same is asked over HTTP. Null if it is not known.
 */
export async function refusal(url, key) {
  const address = new URL('voices', url);
  address.protocol = address.protocol.replace('ws', 'http');
  try {
    const answer = await fetch(address, { headers: key ? { Authorization: `Bearer ${key}` } : {} });
    if (answer.ok) {
      return new Ended('The server takes no further conversation now. Try again in a while.');
    }
    const { error } = await answer.json();
    return Object.assign(new Ended(error.message), { status: answer.status });
  } catch {
    return null; // nobody answers: the WebSocket's own end says as much
  }
}

/** Whether the server is there and serves: what it refuses then, it refuses for good. */
export async function isReady(url) {
  const address = new URL('../ready', url);
  address.protocol = address.protocol.replace('ws', 'http');
  try {
    return (await fetch(address)).ok;
  } catch {
    return false;
  }
}

class Connection {
  constructor(socket) {
    this._socket = socket;
    this._early = []; // events that came before anybody listened
    this._onevent = null;
    this.first = null;
    this.onend = null;
    socket.onmessage = ({ data }) => this._receive(JSON.parse(data));
    socket.onclose = ({ code, reason }) => this.onend?.(ended(code, reason));
  }

  get onevent() {
    return this._onevent;
  }

  set onevent(listener) {
    this._onevent = listener;
    while (this._onevent && this._early.length) this._onevent(this._early.shift());
  }

  send(text) {
    if (this._socket.readyState === WebSocket.OPEN) this._socket.send(text);
  }

  /** Ends the connection and its session. */
  close() {
    this._detach();
    this._socket.close(GOODBYE);
  }

  /** Ends the connection; its session waits for another. */
  giveUp(message) {
    const { onend } = this;
    this._detach();
    this._socket.close(GIVEN_UP);
    onend?.(new Ended(message, { resumable: true }));
  }

  _receive(event) {
    if (this._onevent) this._onevent(event);
    else this._early.push(event);
  }

  _detach() {
    this._socket.onmessage = this._socket.onclose = this.onend = this._onevent = null;
  }
}

function ended(code, reason) {
  if (code === GOODBYE) return new Ended(reason || 'The server ended the session.', { good: true });
  const message = reason
    ? `The server closed the connection: ${reason}.`
    : 'The server cannot be reached.';
  return new Ended(message, {
    resumable: WAITING.has(code),
    retryAfterMs: code === TRY_AGAIN_LATER ? TRY_AGAIN_LATER_MS : 0,
  });
}
