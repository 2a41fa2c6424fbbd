// Where the time went: a bar and a table for one turn, columns for the last ones.

import { drawn, element } from './dom.js';
import { median, PARTS, parts, stages, totalMs } from './timing.js';

const MOST_TURNS = 20;
const WIDTH = 280;
const HEIGHT = 150;
const GUTTER = 30; // for the axis
const STEPS_MS = [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];

export const waterfall = {
  /** One turn as a bar of its parts. */
  bar(turn) {
    const sums = parts(turn);
    const bar = element('span', 'bar-of-parts');
    bar.setAttribute('aria-hidden', 'true');
    for (const { name } of PARTS) {
      if (sums[name] <= 0) continue;
      const piece = element('span', `part ${name}`);
      piece.style.flexGrow = sums[name];
      bar.append(piece);
    }
    return bar;
  },

  /** One turn stage by stage, on one time axis. */
  table(turn) {
    const found = stages(turn);
    const last = found.at(-1);
    const span = last ? Math.max(1, last.startMs + last.ms) : 1;
    const table = element('table', 'stages');
    const caption = element('caption', 'unseen', 'Where the time of this turn went, in milliseconds');
    const body = element('tbody');
    for (const { part, label, startMs, ms } of found) {
      const row = element('tr');
      const name = element('th', '', label);
      name.scope = 'row';
      const track = element('td', 'track');
      const piece = element('span', `part ${part}`);
      piece.style.marginInlineStart = `${(100 * startMs) / span}%`;
      piece.style.width = `${(100 * ms) / span}%`;
      track.append(piece);
      row.append(name, element('td', 'ms', `${Math.round(ms)}`), track);
      body.append(row);
    }
    table.append(caption, body);
    return table;
  },
};

/** The last turns as columns, with their median. */
export class LastTurns {
  constructor(place) {
    this._place = place;
    this._turns = new Map();
    this._draw();
  }

  clear() {
    this._turns.clear();
    this._draw();
  }

  show(item, turn) {
    if (totalMs(turn) === null) return;
    this._turns.set(item, turn);
    if (this._turns.size > MOST_TURNS) this._turns.delete(this._turns.keys().next().value);
    this._draw();
  }

  _draw() {
    const turns = [...this._turns.values()];
    const middle = median(turns.map(totalMs));
    const heading = element('h2', '', 'Response time');
    if (middle === null) {
      const empty = 'From the end of your turn to the first sound of the answer. Talk, and see.';
      this._place.replaceChildren(heading, element('p', 'note', empty));
      return;
    }
    const figure = element('p', 'figure', seconds(middle));
    const count = turns.length === 1 ? 'one turn' : `median of ${turns.length} turns`;
    figure.append(element('small', '', count));
    this._place.replaceChildren(heading, figure, columns(turns, middle), legend(turns));
  }
}

function columns(turns, middle) {
  const most = Math.max(...turns.map(totalMs));
  const step = STEPS_MS.find((ms) => most / ms <= 4) ?? STEPS_MS.at(-1);
  const top = step * Math.ceil(most / step);
  const y = (ms) => HEIGHT - (HEIGHT * ms) / top;
  const chart = drawn('svg', { viewBox: `0 -8 ${WIDTH} ${HEIGHT + 12}`, role: 'img' });
  const all = turns.map((turn) => seconds(totalMs(turn))).join(', ');
  chart.setAttribute('aria-label', `Response times of the last turns: ${all}`);
  for (let ms = 0; ms <= top; ms += step) {
    const line = { x1: GUTTER, x2: WIDTH, y1: y(ms), y2: y(ms), class: ms ? 'grid' : 'grid base' };
    const label = drawn('text', { x: GUTTER - 8, y: y(ms) + 3.5, class: 'tick' });
    label.textContent = ms / 1000;
    chart.append(drawn('line', line), label);
  }
  const slot = (WIDTH - GUTTER) / Math.max(turns.length, 8);
  turns.forEach((turn, index) => {
    chart.append(column(turn, GUTTER + slot * index, Math.min(slot * 0.62, 20), slot, y));
  });
  const line = { x1: GUTTER, x2: WIDTH, y1: y(middle), y2: y(middle), class: 'middle' };
  if (turns.length > 1) chart.append(drawn('line', line));
  return chart;
}

function column(turn, left, width, slot, y) {
  const group = drawn('g', {});
  const title = drawn('title', {});
  const sums = parts(turn);
  title.textContent = [
    seconds(totalMs(turn)),
    ...PARTS.filter(({ name }) => sums[name] > 0).map(
      ({ name, label }) => `${label}: ${Math.round(sums[name])} ms`,
    ),
  ].join('\n');
  group.append(title);
  let at = 0;
  for (const { name } of PARTS) {
    const height = y(at) - y(at + sums[name]);
    const place = { x: left + (slot - width) / 2, y: y(at + sums[name]), width };
    if (height > 0) group.append(drawn('rect', { ...place, height, class: `part ${name}` }));
    at += sums[name];
  }
  return group;
}

/** What the colours are, with the median of each. */
function legend(turns) {
  const list = element('ul', 'legend');
  for (const { name, label } of PARTS) {
    const ms = median(turns.map((turn) => parts(turn)[name]).filter((each) => each > 0));
    if (ms === null) continue; // what is written needs no recognition
    const entry = element('li');
    entry.append(element('span', `part ${name}`), element('span', '', label));
    entry.append(element('span', 'ms', `${Math.round(ms)} ms`));
    list.append(entry);
  }
  return list;
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(2)} s`;
}
