// What the user chose, and where it is kept: the key only where they want it to be.

import { element, part } from './dom.js';

const CHOICES = 'parley.choices';
const KEY = 'parley.key';
const PREFERENCES = ['voice', 'language', 'instructions'];
const DEVICES = { audioinput: 'input', audiooutput: 'output' };
// Those that speech recognition knows well; a server with others says so when it is asked.
const LANGUAGES = (
  'ar bg ca cs da de el en es et fi fr he hi hr hu id it ja ko lt lv ms nl no pl pt ro ru sk sl sv' +
  ' ta th tr uk ur vi zh'
).split(' ');

export class Settings {
  /** `onchange` is called with the name of a choice and its new value. */
  constructor(onchange) {
    this._onchange = onchange;
    this._dialog = part('settings');
    this._choices = JSON.parse(localStorage.getItem(CHOICES) ?? '{}');
    this._key = sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? '';
    this._listLanguages();
    for (const name of [...PREFERENCES, 'input', 'output', 'keep']) this._bind(name);
    part('key').value = this._key;
    part('key').addEventListener('change', () => this._keepKey());
    part('output').disabled = !('setSinkId' in AudioContext.prototype);
    this._dialog.addEventListener('click', ({ target }) => {
      if (target === this._dialog) this._dialog.close();
    });
  }

  get key() {
    return this._key;
  }

  get preferences() {
    return Object.fromEntries(PREFERENCES.map((name) => [name, this.get(name)]));
  }

  get(name) {
    return this._choices[name] ?? '';
  }

  set(name, value) {
    this._choices[name] = value;
    localStorage.setItem(CHOICES, JSON.stringify(this._choices));
    this._onchange(name, value);
  }

  /** Opens the settings. */
  async open() {
    for (const name of PREFERENCES) this.note(name, '');
    this._askForKey(null);
    this._dialog.showModal();
    await Promise.all([this._listVoices(), this.listDevices()]);
  }

  /** Opens them at the key, for a reason; resolves with whether there is another one then. */
  async askForKey(reason) {
    const before = this._key;
    if (!this._dialog.open) this.open();
    this._askForKey(reason);
    part('key').focus();
    await new Promise((resolve) => {
      this._dialog.addEventListener('close', resolve, { once: true });
    });
    return this._key !== before;
  }

  /** Says something beside a preference; returns whether it can be seen. */
  note(name, text, { wrong = false } = {}) {
    const note = part(`${name}-note`);
    note.textContent = text;
    note.classList.toggle('wrong', wrong);
    return this._dialog.open;
  }

  /** The devices there are: their names are told to who may use the microphone. */
  async listDevices() {
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    for (const [kind, name] of Object.entries(DEVICES)) {
      const found = devices.filter((each) => each.kind === kind && each.deviceId && each.label);
      const known = found.filter(({ deviceId }) => deviceId !== 'default');
      this._fill(
        name,
        known.map(({ deviceId, label }) => [deviceId, label]),
      );
    }
  }

  _askForKey(reason) {
    const note = part('key-note');
    note.textContent = reason ?? 'A key or an ephemeral key, where one is needed.';
    note.classList.toggle('wrong', reason !== null);
    if (reason === null) part('key').removeAttribute('aria-invalid');
    else part('key').setAttribute('aria-invalid', 'true');
  }

  _bind(name) {
    const control = part(name);
    if (name === 'keep') control.value = this.get('keep') || 'page';
    else control.value = this.get(name);
    control.addEventListener('change', () => {
      this.set(name, control.value);
      if (name === 'keep') this._keepKey();
    });
  }

  _keepKey() {
    this._key = part('key').value.trim();
    for (const storage of [sessionStorage, localStorage]) storage.removeItem(KEY);
    const storage = { tab: sessionStorage, device: localStorage }[part('keep').value];
    if (this._key) storage?.setItem(KEY, this._key);
    part('key').removeAttribute('aria-invalid');
  }

  _listLanguages() {
    const names = new Intl.DisplayNames([navigator.language, 'en'], { type: 'language' });
    const known = LANGUAGES.map((code) => [code, names.of(code)]);
    this._fill(
      'language',
      known.sort(([, one], [, other]) => one.localeCompare(other)),
    );
  }

  async _listVoices() {
    const headers = this._key ? { Authorization: `Bearer ${this._key}` } : {};
    const answer = await fetch(new URL('v1/voices', document.baseURI), { headers });
    if (!answer.ok) return; // whoever starts to talk is told why
    const { data } = await answer.json();
    this._fill(
      'voice',
      data.map(({ id }) => [id, id]),
    );
  }

  /** Fills a list after its first entry, and keeps what was chosen in it. */
  _fill(name, entries) {
    const list = part(name);
    const chosen = this.get(name);
    const there = entries.some(([value]) => value === chosen);
    const known = chosen && !there ? [...entries, [chosen, chosen]] : entries;
    const options = known.map(([value, label]) => {
      const option = element('option', '', label);
      option.value = value;
      return option;
    });
    list.replaceChildren(list.firstElementChild, ...options);
    list.value = chosen;
  }
}
