// Where a turn's time went, from Parley's own marks and from what the page saw. No I/O.

/** The parts of a turn in order: what a chart draws. */
export const PARTS = [
  { name: 'pause', label: 'Pause that ends your turn' },
  { name: 'hearing', label: 'Recognition' },
  { name: 'thinking', label: 'Language model' },
  { name: 'speaking', label: 'Speech' },
  { name: 'delivery', label: 'Network and playback' },
];

// What ends at each of Parley's marks, which are in ms by the server's clock.
const STAGES = [
  ['turn_end', 'pause', 'Silence and decision'],
  ['stt_start', 'hearing', 'Recognition, queue'],
  ['stt_end', 'hearing', 'Recognition'],
  ['llm_start', 'thinking', 'Language model, queue'],
  ['llm_first_token', 'thinking', 'Language model, first token'],
  ['llm_first_segment', 'thinking', 'Language model, first words to speak'],
  ['tts_start', 'speaking', 'Speech, queue'],
  ['tts_first_chunk', 'speaking', 'Speech, first audio'],
];

// The same by the page's clock, as far as it can see.
const SEEN = [
  ['transcribedAt', 'hearing', 'Until your words were shown'],
  ['wordsAt', 'thinking', 'Until the first words of the answer'],
  ['audioAt', 'speaking', 'Until its first audio'],
  ['heardAt', 'delivery', 'Until it was heard'],
];

/** When what happened in a turn, by the page's clock in ms; null is not yet, or not at all. */
export function newTurn(endedAt) {
  return { endedAt, transcribedAt: null, wordsAt: null, audioAt: null, heardAt: null, marks: {} };
}

/**
 * The stages of a turn from the end of what the user said: `{ part, label, startMs, ms }` each.
 *
 * A stage lasts from the latest point before it to its own, so that they add up to `totalMs`. Marks
 * are used where there are any; what lies between the last of them and the ear was on the way.
 */
export function stages(turn) {
  const { marks, endedAt } = turn;
  if (!('speech_end' in marks)) return laid(SEEN, turn, endedAt);
  const found = laid(STAGES, marks, marks.speech_end);
  const last = found.at(-1);
  const known = last ? last.startMs + last.ms : 0;
  const total = totalMs(turn);
  if (total !== null) {
    const ms = Math.max(0, total - known);
    found.push({ part: 'delivery', label: 'Network and playback', startMs: known, ms });
  }
  return found;
}

/** From the end of what the user said to the first sound of the answer; null if it has none. */
export function totalMs({ endedAt, heardAt }) {
  return heardAt === null || endedAt === null ? null : heardAt - endedAt;
}

/** How long each of `PARTS` took, in ms by its name. */
export function parts(turn) {
  const sums = Object.fromEntries(PARTS.map(({ name }) => [name, 0]));
  for (const { part, ms } of stages(turn)) sums[part] += ms;
  return sums;
}

/** The middle value; null of none. */
export function median(values) {
  if (!values.length) return null;
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function laid(points, times, start) {
  const found = [];
  let at = start;
  for (const [name, part, label] of points) {
    if (times[name] === undefined || times[name] === null) continue;
    const end = Math.max(at, times[name]);
    found.push({ part, label, startMs: at - start, ms: end - at });
    at = end;
  }
  return found;
}
