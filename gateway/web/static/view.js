// The conversation on the page: who said what, what was cut off, and where each turn's time went.

import { waterfall } from './charts.js';
import { CUT, DONE, FAILED, HEARD, SPEAKING } from './conversation.js';
import { element } from './dom.js';
import { totalMs } from './timing.js';

const NAMES = { user: 'You', assistant: 'Parley' };

export class View {
  /** `list` holds the turns; `announced` is read out to those who do not see them. */
  constructor(list, announced) {
    this._list = list;
    this._announced = announced;
    this._rows = new Map();
  }

  /** Another conversation begins. */
  clear() {
    this._list.replaceChildren();
    this._rows.clear();
  }

  /** Shows an entry that is new or has changed. */
  show(entry) {
    const row = this._rows.get(entry.id) ?? this._add(entry);
    const spoke = row.dataset.state;
    row.dataset.state = entry.state;
    row.querySelector('.words').replaceChildren(...words(entry));
    if (entry.role === 'user' && entry.state === DONE && spoke !== DONE) {
      this._announced.textContent = `You: ${entry.text}`; // answers are heard
    }
    this._follow();
  }

  remove(entry) {
    this._rows.get(entry.id)?.remove();
    this._rows.delete(entry.id);
  }

  /** Says which answer is being heard, null for none. */
  sound(item) {
    for (const [id, row] of this._rows) row.classList.toggle('sounding', id === item);
  }

  /** Shows where the time of an answer went. */
  time(item, turn) {
    const row = this._rows.get(item);
    if (!row) return;
    const old = row.querySelector('.timing');
    const fresh = timing(turn);
    fresh.open = old?.open ?? false;
    if (old) old.replaceWith(fresh);
    else row.append(fresh);
    this._follow();
  }

  _add({ id, role }) {
    const row = element('li', `turn ${role}`);
    const name = element('h2', 'who', NAMES[role]);
    name.append(element('span', 'sound'));
    row.append(name, element('p', 'words'));
    this._rows.set(id, row);
    this._list.append(row);
    return row;
  }

  /** Keeps the latest words in sight, unless the reader has gone back. */
  _follow() {
    const stage = this._list.parentElement;
    const left = stage.scrollHeight - stage.clientHeight - stage.scrollTop;
    if (left < 240) stage.scrollTop = stage.scrollHeight;
  }
}

function words({ role, state, text, heard, problem }) {
  if (state === CUT) {
    const unheard = element('s', 'unheard', text.trim().slice(heard.length).trim());
    return [`${heard} `, unheard, element('span', 'mark', 'interrupted')];
  }
  if (state === FAILED) return [text, element('span', 'mark wrong', problem)];
  if (text) return [text];
  const waiting = { [SPEAKING]: role === 'user' ? 'Speaking' : 'Thinking', [HEARD]: 'Listening' };
  return [element('span', 'waiting', waiting[state] ?? '')];
}

function timing(turn) {
  const details = element('details', 'timing');
  const summary = element('summary', '');
  const total = totalMs(turn);
  const spoken = total === null ? '' : `${(total / 1000).toFixed(2)} s`;
  summary.append(waterfall.bar(turn), element('span', 'total', spoken));
  summary.append(element('span', 'unseen', ' from the end of your turn to the answer. Details'));
  details.append(summary, waterfall.table(turn));
  return details;
}
