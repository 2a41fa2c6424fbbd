// The page: its controls, and what they have to do with the conversation.

import { LastTurns } from './charts.js';
import { part } from './dom.js';
import { CONNECTED, CONNECTING, OVER, RESUMING } from './parley.js';
import { Ribbon } from './ribbon.js';
import { Settings } from './settings.js';
import { Talk } from './talk.js';
import { View } from './view.js';

const STATES = {
  [CONNECTING]: 'Connecting',
  [CONNECTED]: 'Connected',
  [RESUMING]: 'Reconnecting',
  [OVER]: 'Not connected',
};
const PREFERENCES = ['voice', 'language', 'instructions'];
const PROBLEM_MS = 12_000;

const view = new View(part('turns'), part('announced'));
const chart = new LastTurns(part('times'));
const ribbons = {
  you: new Ribbon(part('ribbon-you'), { leftwards: true }),
  parley: new Ribbon(part('ribbon-parley'), { leftwards: false }),
};
const settings = new Settings(changed);
let problemTimer = null;

const talk = new Talk({
  began() {
    view.clear();
    chart.clear();
  },
  entry: (entry) => view.show(entry),
  removed: (entry) => view.remove(entry),
  turn(item, turn) {
    view.time(item, turn);
    chart.show(item, turn);
  },
  level: (who, value) => ribbons[who].level(value),
  problem: explain,
  changed: show,
});
talk.preferences = settings.preferences;
talk.byPress = settings.get('byPress') === true;

// --- what the user does ---

/** Begins a conversation unless there is one; returns whether there is one. */
async function begin() {
  hush();
  try {
    await talk.begin(document.baseURI, settings.key);
    await talk.playOn(settings.get('output'));
    return talk.open;
  } catch (error) {
    if (error.status !== 401) explain(error.message);
    return error.status === 401 && (await settings.askForKey(refused(error))) && begin();
  }
}

function refused({ message }) {
  return settings.key ? `Refused: ${message}.` : 'This server asks for an API key.';
}

async function start() {
  if (!(await begin())) return;
  try {
    await talk.listen(settings.get('input'));
  } catch (error) {
    explain(error.message);
  }
}

function pressOrb() {
  if (!talk.listening) start();
  else if (!talk.byPress) talk.mute(!talk.muted);
}

function hold(event) {
  if (!talk.byPress || !talk.listening) return;
  event.preventDefault();
  talk.press();
}

const orb = part('orb');
orb.addEventListener('click', pressOrb);
orb.addEventListener('pointerdown', (event) => {
  if (event.button !== 0) return;
  orb.setPointerCapture(event.pointerId);
  hold(event);
});
for (const type of ['pointerup', 'pointercancel']) {
  orb.addEventListener(type, () => talk.release());
}
orb.addEventListener('contextmenu', (event) => event.preventDefault());

part('by-press').addEventListener('click', () => settings.set('byPress', !talk.byPress));
part('end').addEventListener('click', () => {
  talk.end();
  orb.focus();
});
part('stop').addEventListener('click', () => {
  talk.stop();
  orb.focus();
});

part('compose').addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = part('text').value.trim();
  if (!text || !(await begin())) return;
  part('text').value = '';
  talk.write(text);
});

part('open-settings').addEventListener('click', () => settings.open());
part('open-times').addEventListener('click', () => {
  const open = part('times').classList.toggle('open');
  part('open-times').setAttribute('aria-expanded', String(open));
});

/** Whether a key pressed now belongs to something else. */
function elsewhere({ target }) {
  return part('settings').open || target.closest('input, textarea, select, summary, button:not(#orb)');
}

document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && !part('settings').open) talk.stop();
  if (event.key === ' ' && !elsewhere(event)) hold(event);
});
document.addEventListener('keyup', (event) => {
  if (event.key === ' ') talk.release();
});
addEventListener('blur', () => talk.release());
navigator.mediaDevices?.addEventListener('devicechange', () => settings.listDevices());

/** A choice was made in the settings. */
function changed(name, value) {
  if (name === 'byPress') talk.takeTurns(value);
  if (name === 'input' && talk.listening) start();
  if (name === 'output') talk.playOn(value).catch((error) => explain(error.message));
  if (!PREFERENCES.includes(name)) return;
  const now = talk.prefer(name, value);
  settings.note(name, now ? '' : 'A voice that was heard stays: from the next conversation on.');
}

// --- what is shown ---

function show() {
  const { state, open, listening, speaking, thinking, byPress, pressed, muted } = talk;
  part('page').dataset.state = state;
  part('connection').dataset.state = state;
  part('connection').textContent = STATES[state];
  const activity = { speaking, thinking, muted: listening && muted && !byPress, pressed };
  for (const [name, on] of Object.entries({ ...activity, listening })) {
    orb.classList.toggle(name, on);
  }
  part('orb-name').textContent = orbName();
  if (listening && !byPress) orb.setAttribute('aria-pressed', String(muted));
  else orb.removeAttribute('aria-pressed');
  part('by-press').setAttribute('aria-pressed', String(byPress));
  part('end').disabled = !open;
  part('stop').hidden = !(open && (speaking || thinking));
  const hint = hintNow();
  if (part('hint').textContent !== hint) part('hint').textContent = hint;
  view.sound(talk.sounding);
}

function orbName() {
  if (!talk.listening) return 'Start talking';
  return talk.byPress ? 'Hold to talk' : 'Mute';
}

function hintNow() {
  if (talk.state === CONNECTING) return 'Connecting';
  if (talk.state === RESUMING) return 'The connection broke. Coming back';
  if (talk.pressed) return 'Listening';
  if (talk.speaking) return 'Parley is speaking';
  if (talk.thinking) return 'Thinking';
  if (!talk.listening) return talk.open ? 'Press to talk' : '';
  if (talk.byPress) return 'Hold to talk';
  return talk.muted ? 'Muted' : 'Listening';
}

/** Says what went wrong: beside the setting it is about, if that can be seen. */
function explain(message, field = null) {
  const name = PREFERENCES.find((each) => field?.endsWith(each));
  const note = message.replace(field, 'It');
  if (name && settings.note(name, note, { wrong: true })) return;
  part('problem').textContent = message;
  part('problem').hidden = false;
  clearTimeout(problemTimer);
  problemTimer = setTimeout(hush, PROBLEM_MS);
}

function hush() {
  clearTimeout(problemTimer);
  part('problem').hidden = true;
}

show();
