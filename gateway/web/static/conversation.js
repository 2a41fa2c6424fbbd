// What both sides said, made of the server's events. No I/O: `onchange` is told which entry is new
// or has changed, `onremove` which is gone.

/** What an entry is doing. */
export const SPEAKING = 'speaking'; // words or sound are still to come
export const HEARD = 'heard'; // the user has spoken, and their words are awaited
export const DONE = 'done';
export const CUT = 'cut'; // interrupted: `heard` is what was heard of `text`
export const FAILED = 'failed'; // `problem` says why

const TRANSCRIPTION = 'conversation.item.input_audio_transcription';

export class Conversation {
  constructor() {
    this._entries = new Map();
    this.onchange = () => {};
    this.onremove = () => {};
  }

  /** The entry of an item. */
  get(id) {
    return this._entries.get(id);
  }

  /** Takes in an event of the server's. */
  take(event) {
    switch (event.type) {
      case 'input_audio_buffer.speech_started':
        return this._add(event.item_id, 'user', { state: SPEAKING });
      case 'input_audio_buffer.speech_stopped':
        return this._change(event.item_id, { state: HEARD });
      case `${TRANSCRIPTION}.delta`:
        return this._append(event);
      case `${TRANSCRIPTION}.completed`:
        return this._transcribed(event.item_id, event.transcript);
      case `${TRANSCRIPTION}.failed`:
        return this._change(event.item_id, { state: FAILED, problem: event.error.message });
      case 'conversation.item.added':
        return this._added(event.item);
      case 'response.output_item.added':
        return this._answered(event.item, event.response_id);
      case 'response.output_audio_transcript.delta':
      case 'response.output_text.delta':
        return this._append(event);
      case 'response.output_audio.delta':
        return this._sounded(event.item_id);
      case 'response.done':
        return this._ended(event.response);
      case 'conversation.item.retrieved':
        return this._cut(event.item.id, words(event.item));
    }
  }

  /** Nothing more is said. */
  finish() {
    for (const entry of [...this._entries.values()]) {
      if (entry.state !== SPEAKING && entry.state !== HEARD) continue;
      if (entry.text) this._change(entry.id, { state: DONE });
      else this._remove(entry.id);
    }
  }

  _add(id, role, fields) {
    const entry = { id, role, state: DONE, text: '', heard: null, problem: null, ...fields };
    this._entries.set(id, entry);
    this.onchange(entry);
  }

  _change(id, fields) {
    const entry = this.get(id);
    if (entry) this.onchange(Object.assign(entry, fields));
  }

  _remove(id) {
    this.onremove(this.get(id));
    this._entries.delete(id);
  }

  _added(item) {
    if (item.type !== 'message' || item.role !== 'user' || this.get(item.id)) return;
    const spoken = item.content.some(({ type }) => type === 'input_audio');
    this._add(item.id, 'user', { state: spoken ? HEARD : DONE, text: words(item) });
  }

  _answered(item, responseId) {
    if (item.type !== 'message') return;
    this._add(item.id, 'assistant', { state: SPEAKING, sounded: false, responseId });
  }

  _append({ item_id: id, delta }) {
    const entry = this.get(id);
    if (entry) this._change(id, { text: entry.text + delta });
  }

  _transcribed(id, text) {
    if (!this.get(id)) return;
    if (text.trim()) this._change(id, { state: DONE, text });
    else this._remove(id); // a noise
  }

  _sounded(id) {
    const entry = this.get(id);
    if (entry) entry.sounded = true;
  }

  _ended({ id, status, output, status_details: details }) {
    const entry = [...this._entries.values()].find(({ responseId }) => responseId === id);
    if (!entry) return;
    if (status === 'failed') {
      this._change(entry.id, { state: FAILED, problem: details.error.message });
    } else if (status !== 'cancelled') {
      this._change(entry.id, { state: DONE });
    } else if (entry.sounded) {
      this._cut(entry.id, words(output[0]));
    } else {
      this._remove(entry.id); // the user went on: another answer follows
    }
  }

  /** Keeps what the user heard of an answer apart from what they did not. */
  _cut(id, heard) {
    const entry = this.get(id);
    if (entry?.role !== 'assistant') return;
    const all = entry.text.trim() === heard.trim();
    this._change(id, { state: all ? DONE : CUT, heard: all ? null : heard });
  }
}

/** The text of an item, in whichever of its parts. */
function words(item) {
  return (item?.content ?? []).map((part) => part.text ?? part.transcript ?? '').join('');
}
