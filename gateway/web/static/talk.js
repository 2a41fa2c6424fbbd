// A conversation as the page has it: the session, the microphone, the speaker, and what was said.

import { fromBase64 } from './encoding.js';
import { Conversation } from './conversation.js';
import { Microphone } from './microphone.js';
import { OVER, Parley } from './parley.js';
import { Speaker } from './speaker.js';
import { newTurn } from './timing.js';

const SHORTEST_MS = 150; // a press that is no more than a touch says nothing

/** What a preference is called in the session's configuration. */
const CONFIGURED = {
  voice: (voice) => ({ audio: { output: { voice } } }),
  language: (language) => ({ audio: { input: { transcription: { language } } } }),
  instructions: (instructions) => ({ instructions }),
};

/**
 * `shown` is told what happens: `began`, `entry`, `removed`, `turn` (an item's id and its times), `level`
 * ("you" or "parley", 0 to 1), `problem` (a sentence, the field at fault) and `changed`, after
 * which the properties here may be others.
 */
export class Talk {
  constructor(shown) {
    this._shown = shown;
    this._context = null;
    this._microphone = null;
    this._speaker = null;
    this._parley = null;
    this.conversation = new Conversation();
    this.preferences = {};
    this.byPress = false; // push-to-talk
    this.pressed = false;
    this.muted = false;
    this._reset();
  }

  _reset() {
    this.session = null; // its configuration, as the server gave it
    this._began = null; // by the page's clock, when the session's audio did
    this._turn = null; // that is being asked, and those that are answered, by their response
    this._turns = new Map();
    this._response = null; // that is being made
    this._answer = null; // that is heard or about to be: its item, and whether all of it has come
    this._gone = new Set(); // items that were cut off, whose audio may still come
  }

  get state() {
    return this._parley?.state ?? OVER;
  }

  get open() {
    return this.state !== OVER;
  }

  get listening() {
    return this._microphone?.open ?? false;
  }

  /** The item that is heard now; null if there is silence. */
  get sounding() {
    return this._speaker?.playing ?? null;
  }

  get speaking() {
    return this.sounding !== null;
  }

  get thinking() {
    return this._response !== null && !this.speaking;
  }

  /** Whether an answer was heard, whose voice stays for the conversation. */
  get _spoke() {
    return this._answer !== null;
  }

  // --- beginning and end ---

  /** Begins a conversation unless there is one. Throws a sentence for a person. */
  async begin(url, key) {
    await this._sound();
    if (this.open) return;
    this._reset();
    this._shown.began();
    this.conversation = new Conversation();
    this.conversation.onchange = this._shown.entry;
    this.conversation.onremove = this._shown.removed;
    const parley = new Parley({ url, key, timings: true });
    this._parley = parley;
    parley.on('event', (event) => this._take(event));
    parley.on('state', () => this._changed());
    await parley.open();
    this._configure();
  }

  /** Has the microphone heard, the device with this id if one is named. */
  async listen(deviceId) {
    this._microphone ??= new Microphone(
      this._context,
      (frame) => this._hear(frame),
      () => this._lost(),
    );
    await this._microphone.start(deviceId);
    this._microphone.mute(this.muted);
    this._changed();
  }

  /** Says goodbye. */
  end() {
    this._parley?.close();
  }

  async _sound() {
    if (!isSecureContext) {
      throw new Error('Browsers let a page talk only if it is at https:// or at localhost.');
    }
    if (this._context === null) {
      this._context = new AudioContext({ latencyHint: 'interactive' });
      const speaker = new Speaker(this._context, (heard) => this._heard(heard));
      this._ready = speaker.start().then(() => {
        this._speaker = speaker;
      });
    }
    await Promise.all([this._ready, this._context.resume()]);
  }

  /** Plays on another device. */
  async playOn(deviceId) {
    await this._speaker?.choose(deviceId);
  }

  // --- what the user does ---

  /** Changes a preference; returns whether it holds at once, and not from the next conversation. */
  prefer(name, value) {
    this.preferences[name] = value;
    if (this.state === OVER || this.session === null) return true;
    if (name === 'voice' && this._spoke) return false;
    this._parley.update(CONFIGURED[name](value || this._usual(name)));
    return true;
  }

  /** Turns taken by pressing, or by speaking and falling silent. */
  takeTurns(byPress) {
    this.byPress = byPress;
    this.pressed = false;
    if (this.open && this.session) this._detect();
    this._changed();
  }

  mute(muted) {
    this.muted = muted;
    this._microphone?.mute(muted);
    this._changed();
  }

  /** Push-to-talk: the user speaks from here on. */
  press() {
    if (this.pressed || !this.listening || this.state === OVER) return;
    this.stop();
    this.pressed = true;
    this._pressedAt = this._parley.audioMs;
    this._changed();
  }

  /** Push-to-talk: the user has spoken. */
  release() {
    if (!this.pressed) return;
    this.pressed = false;
    if (this._parley.audioMs - this._pressedAt < SHORTEST_MS) {
      this._parley.send('input_audio_buffer.clear');
      this._shown.problem('Hold the button for as long as you speak.');
    } else {
      this._turn = newTurn(performance.now());
      this._parley.send('input_audio_buffer.commit');
      this._parley.respond();
    }
    this._changed();
  }

  /** Says something in writing. */
  write(text) {
    this.stop();
    this._turn = newTurn(performance.now());
    this._parley.text(text);
    this._parley.respond();
  }

  /** Has the answer stop. */
  stop() {
    if (this._response !== null) {
      this._parley.send('response.cancel', { response_id: this._response });
      this._response = null;
    }
    this._fallSilent();
  }

  // --- what happens ---

  _take(event) {
    this.conversation.take(event);
    HAPPENINGS[event.type]?.call(this, event);
  }

  _configure() {
    const { language, voice, instructions } = this.preferences;
    this._parley.update({ audio: { input: { transcription: {} } } });
    if (this.byPress) this._detect();
    // each by itself: what is refused of one leaves the others
    for (const [name, value] of Object.entries({ language, voice, instructions })) {
      if (value) this._parley.update(CONFIGURED[name](value));
    }
  }

  _detect() {
    const usual = this.session.audio.input.turn_detection ?? { type: 'server_vad' };
    const detection = this.byPress ? null : usual;
    this._parley.update({ audio: { input: { turn_detection: detection } } });
  }

  _usual(name) {
    if (name === 'voice') return this.session.audio.output.voice;
    return name === 'instructions' ? this.session.instructions : null;
  }

  _hear({ samples, level }) {
    const heard = this.byPress ? this.pressed : !this.muted;
    this._shown.level('you', heard ? level : 0);
    if (this.state === OVER || (this.byPress && !this.pressed)) return;
    this._parley.audio(samples);
    this._began = performance.now() - this._parley.audioMs;
  }

  _lost() {
    this._shown.problem('The microphone is gone.');
    this._changed();
  }

  _heard({ playing, level, item }) {
    this._shown.level('parley', level);
    const turn = this._turns.get(this.conversation.get(item)?.responseId);
    if (turn && turn.heardAt === null) {
      turn.heardAt = performance.now() + this._speaker.latencyMs;
      this._shown.turn(item, turn);
    }
    if (playing === null && this._answer?.item === item && this._answer.whole) {
      this._answer = { ...this._answer, heard: true };
    }
    this._changed();
  }

  _play({ item_id: item, response_id: response, delta }) {
    if (this._gone.has(item)) return;
    this._saw(response, 'audioAt');
    this._answer = { item, whole: false, heard: false };
    this._speaker.play(item, fromBase64(delta));
  }

  /** Throws away what is not heard yet, and tells the server how much was. */
  async _fallSilent() {
    const answer = this._answer;
    if (answer === null || answer.heard || this._gone.has(answer.item)) return;
    this._gone.add(answer.item);
    const heardMs = await this._speaker.cut(answer.item);
    if (this.state === OVER) return;
    this._parley.send('conversation.item.truncate', {
      item_id: answer.item,
      content_index: 0,
      audio_end_ms: Math.floor(heardMs),
    });
  }

  /** The user has spoken: their last sample was heard then. */
  _spoken({ audio_end_ms: endMs }) {
    this._turn = newTurn(this._began === null ? performance.now() : this._began + endMs);
  }

  _responds({ response }) {
    if (response.conversation_id === null) return;
    this._response = response.id;
    this._turns.set(response.id, this._turn ?? newTurn(null));
    this._turn = null;
    this._changed();
  }

  _responded({ response }) {
    if (this._response === response.id) this._response = null;
    this._changed();
  }

  _saw(response, what) {
    const turn = this._turns.get(response);
    if (turn && turn[what] === null) turn[what] = performance.now();
  }

  _transcribed() {
    const turns = [this._turn, ...this._turns.values()].filter(Boolean);
    const waiting = turns.find(({ transcribedAt, wordsAt }) => !transcribedAt && !wordsAt);
    if (waiting) waiting.transcribedAt = performance.now();
  }

  _timed({ response_id: response, item_id: item, marks }) {
    const turn = this._turns.get(response);
    if (!turn) return;
    turn.marks = marks;
    if (turn.heardAt !== null) this._shown.turn(item, turn);
  }

  _changed() {
    if (this.state === OVER && this._parley !== null) this._leave();
    this._shown.changed();
  }

  _leave() {
    const { problem } = this._parley;
    this._parley = null;
    this._microphone?.stop();
    this.conversation.finish();
    this.pressed = false;
    this._fallSilent();
    this._response = null;
    this._shown.level('you', 0);
    if (problem && this.session !== null) this._shown.problem(problem);
  }
}

/** What the events mean here, beside what the conversation makes of them. */
const HAPPENINGS = {
  'session.created'({ session }) {
    this.session = session;
  },
  'input_audio_buffer.speech_started'() {
    this._fallSilent();
  },
  'input_audio_buffer.speech_stopped': Talk.prototype._spoken,
  'conversation.item.input_audio_transcription.completed': Talk.prototype._transcribed,
  'response.created': Talk.prototype._responds,
  'response.done': Talk.prototype._responded,
  'response.output_audio_transcript.delta'({ response_id: response }) {
    this._saw(response, 'wordsAt');
  },
  'response.output_audio.delta': Talk.prototype._play,
  'response.output_audio.done'({ item_id: item }) {
    if (this._answer?.item === item) this._answer.whole = true;
    this._speaker.end(item);
  },
  'conversation.item.truncated'({ item_id: item }) {
    this._parley.send('conversation.item.retrieve', { item_id: item });
  },
  'parley.timings': Talk.prototype._timed,
  error({ error }) {
    // it ended by itself in the same moment
    if (error.code === 'response_cancel_not_active') return;
    this._shown.problem(error.message, error.param);
  },
};
