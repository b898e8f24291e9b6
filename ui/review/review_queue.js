// The review's bookkeeping, without the page: which row comes next, and an outbox that saves decisions one at a time, in order.
const isOpen = (item) => !item.action;

// The next undecided row after `at`, going round once; -1 if every row is decided.
function nextOpen(queue, at) {
  for (let step = 1; step <= queue.length; step++) {
    const i = (at + step) % queue.length;
    if (isOpen(queue[i])) return i;
  }
  return -1;
}

// The rows that will be looked at next: the following open ones and the one just below.
function comingRows(queue, at, count) {
  const rows = new Set();
  for (let i = at, left = count; left > 0; left--) {
    i = nextOpen(queue, i);
    if (i < 0 || i === at) break;
    rows.add(queue[i].row);
  }
  if (at + 1 < queue.length) rows.add(queue[at + 1].row);
  return [...rows];
}

const decidedIn = (queue) => queue.filter((item) => !isOpen(item)).length;
const placeOf = (queue, row) => queue.findIndex((item) => item.row === row);

// A row that was asked for and is not in the batch is put after the current one. Answers its place.
function insertAfter(queue, at, item) {
  const place = Math.min(queue.length, at + 1);
  queue.splice(place, 0, item);
  return place;
}

// Sends one message at a time and waits for its receipt, so that decisions and undos reach the log in the order they were made.
// After a failure nothing more is sent: the failed message and all after it wait for `retry`. `keep` is told of every change which
// decisions are not saved yet; a step back is not among them, since repeating it would take back another one.
function makeOutbox(send, keep = () => {}) {
  let current = null, count = 0, failed = [];
  const waiting = [];
  const next = () => {
    if (current || failed.length || !waiting.length) return;
    current = { ...waiting.shift(), n: ++count };
    send(current);
  };
  const note = () => keep([current, ...failed, ...waiting].filter((one) => one && one.kind === 'decide').map(({ n, ...message }) => message));
  return {
    push(message) {
      if (failed.length) failed.push(message); else waiting.push(message);
      next();
      note();
    },
    // The receipt of the message under way; an older one (after a timeout) answers null.
    settle(receipt) {
      if (!current || receipt.n !== current.n) return null;
      const { n, ...message } = current;
      current = null;
      if (!receipt.ok) failed = [message, ...waiting.splice(0)];
      next();
      note();
      return message;
    },
    retry() { waiting.unshift(...failed.splice(0)); next(); note(); },
    drop() { const dropped = failed.splice(0); note(); return dropped; },
    get busy() { return current !== null || waiting.length > 0; },
    get current() { return current; },
    get failures() { return failed.length; },
  };
}

// The reason that is stored: chosen chips, then the comment.
const reasonText = (chips, comment) => [chips.join(', '), comment.trim()].filter(Boolean).join(': ');

// True when the count passes a multiple of that number; 0 means never.
const nudgeDue = (before, now, every) => every > 0 && Math.floor(now / every) > Math.floor(before / every);

// What others decided meanwhile: marks rows of the batch that were open, and opens those again that they took back. Answers the rows
// that changed. `held` = {row: {action, by, seen}}; an item keeps in `was` what held when the batch came.
function mergeHeld(queue, held, me) {
  const same = (a, b) => (a ? `${a.action} ${a.by}` : '') === (b ? `${b.action} ${b.by}` : '');
  const mark = (item, now) => Object.assign(item, { action: now ? now.action : null, by: now ? now.by : null, seen: now ? now.seen : null });
  const changed = [];
  for (const item of queue) {
    const now = held[item.row] || null, before = item.by ? { action: item.action, by: item.by } : null;
    if (now && now.by === me) continue;
    if (now && !item.action && !same(now, item.was)) { mark(item, now); changed.push(item.row); }
    else if (before && !same(now, before)) { mark(item, now); changed.push(item.row); }
    else if (now && item.action && !item.by && now.action !== item.action) changed.push(item.row);
  }
  return changed;
}

// A check has a negative id and is shown with the number of another row until it is decided; a random draw is read without being told
// what the filter makes of the row.
const shownNumber = (item) => item.shown ?? item.row;
const blind = (item) => item.row < 0 || (item.why === 'random' && !item.action);
function markCheck(queue, receipt) {
  const spot = receipt.check ? placeOf(queue, receipt.row) : -1;
  if (spot >= 0) Object.assign(queue[spot], { check: true, action: receipt.action });
}

// Why a row is in the queue: in a word, and in a sentence.
const WHY = { borderline: 'near the line', random: 'random draw', flagged: 'flagged', unscored: 'no score', asked: 'asked for', precision: 'flagged draw', anywhere: 'by chance', highest: 'high score', disagreement: 'scorers differ', filter: 'this filter', approval: 'second look', sample: 'random sample' };
const WHY_LONG = {
  borderline: 'It is here because it lies near the line, where the filter is least sure.',
  random: 'It is here by a random draw below the line: reading these is what the statement about the remaining risk rests on.',
  anywhere: 'It is here by chance: this order takes any open row. The statement about the rest rests on recorded draws only, which come in the order \u201cNear the line first\u201d.',
  sample: 'It is here by a random draw from the whole file: reading fifty of these says how many of all rows are harmful, whatever the scores are worth.',
  precision: 'It is here by a random draw among the flagged rows: reading these says how many of the flagged rows are harmful.',
  flagged: 'It is here as one of the flagged rows, from all over their range.',
  disagreement: 'It is here because two scorers judge it differently.',
  approval: 'It is here because a second person has to look at it.',
};

// What a person may decide (key, action, button), what it means, and ready reasons.
const DECISIONS = [['1', 'keep', 'Keep'], ['2', 'remove', 'Remove'], ['3', 'relabel', 'Relabel'], ['4', 'unsure', 'Unsure']];
const MEANING = { keep: 'Train on this row as it is', remove: 'Leave this row out', relabel: 'Keep the prompt, train a refusal instead', unsure: 'Come back to it; the row stays undecided' };
const REASONS = ['harmful request', 'harmful answer', 'harmless look-alike', 'task data', 'answer is a refusal', 'mislabelled'];
