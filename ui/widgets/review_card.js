// The review: a batch of rows, one card at a time, decided by keys. The next card is fetched ahead, so it appears at once; "Saved"
// is said only after the store has answered. value = JSON of {dataset, threshold, queue, start, progress}; receipt = JSON of
// {n, ok, error, kind, row, action, progress, recent}; events: "decide", "undo", "redo", "batch", "settled"; server: srv_card, srv_find.
const $ = (selector) => element.querySelector(selector);
const panel = $('.rv'), go = $('.rv-go input'), found = $('.rv-found'), comment = $('.rv-comment'), statusLine = $('.rv-status');
const DECISIONS = [['1', 'keep', 'Keep'], ['2', 'remove', 'Remove'], ['3', 'relabel', 'Relabel'], ['4', 'unsure', 'Unsure']];
const MEANING = { keep: 'Train on this row as it is', remove: 'Leave this row out', relabel: 'Keep the prompt, train a refusal instead', unsure: 'Come back to it; the row stays undecided' };
const REASONS = ['harmful request', 'harmful answer', 'harmless look-alike', 'task data', 'answer is a refusal', 'mislabelled'];
const WHY = { borderline: 'near the line', random: 'random draw', flagged: 'flagged', unscored: 'no score', asked: 'asked for' };
const WHY_LONG = {
  borderline: 'It is here because it lies near the line, where the filter is least sure.',
  random: 'It is here by a random draw below the line: reading these is what the statement about the remaining risk rests on.',
  flagged: 'It is here as one of the flagged rows, from all over their range.',
  unscored: '',
  asked: '',
};
const PATIENCE_MS = 10000;
let data = null, queue = [], at = 0, cards = new Map(), revealed = false, masked = null, chips = new Set(), timeout = 0, typing = 0, quiet = 0;

const outbox = makeOutbox((message) => {
  clearTimeout(timeout);
  timeout = setTimeout(() => settle({ n: message.n, ok: false, error: 'The app did not answer. Is it still running?' }), PATIENCE_MS);
  trigger(message.kind, message);
});
const current = () => queue[at];
const say = (text, kind = '') => { statusLine.replaceChildren(text); statusLine.dataset.kind = kind; };

function cardOf(row) {
  const key = `${row} ${row === (current() || {}).row && revealed}`;
  if (!cards.has(key)) cards.set(key, server.srv_card({ dataset: data.dataset, row, reveal: key.endsWith('true'), mask: rs.masked }));
  return cards.get(key);
}
const forget = (row) => { cards.delete(`${row} true`); cards.delete(`${row} false`); };

async function showCard() {
  const item = current(), asked = revealed;
  $('.rv-decide').hidden = $('.rv-card').hidden = !item;
  if (!item) return;
  const waiting = cardOf(item.row);
  const ahead = nextOpen(queue, at);
  if (ahead >= 0) cardOf(queue[ahead].row);
  if (at + 1 < queue.length) cardOf(queue[at + 1].row);
  const reply = await waiting;
  if (current() !== item || asked !== revealed) return;
  if (reply && reply.ok) {
    drawCard($('.rv-card'), { ...reply.card, decision: item.action }, { threshold: data.threshold, why: WHY_LONG[item.why], onReveal: reveal });
  } else {
    forget(item.row);
    $('.rv-card').replaceChildren(h('p', { class: 'cd-none', text: (reply && reply.error) || 'This row could not be read. Is the app still running?' }));
  }
}

function drawQueue() {
  const list = $('.rv-queue');
  while (list.children.length > queue.length) list.lastChild.remove();
  queue.forEach((item, i) => {
    const line = list.children[i] || list.appendChild(h('li', {}, h('button', { type: 'button', onclick: () => { move(i); } }, h('b'), h('span'), h('i'))));
    const [row, why, mark] = line.firstChild.children;
    line.firstChild.setAttribute('aria-current', i === at ? 'true' : 'false');
    row.textContent = number(item.row);
    why.textContent = WHY[item.why] || '';
    mark.textContent = item.action ? ACTIONS[item.action] : '';
    mark.dataset.kind = item.action || '';
  });
  const line = list.children[at];
  if (line) list.scrollTop = Math.max(0, line.offsetTop - list.offsetTop - list.clientHeight / 2);
}

function drawProgress(progress) {
  const decided = decidedIn(queue);
  $('.rv-batch').textContent = `${number(decided)} of ${number(queue.length)} in this batch`;
  $('.rv-bar').setAttribute('aria-valuemax', queue.length);
  $('.rv-bar').setAttribute('aria-valuenow', decided);
  $('.rv-bar').replaceChildren(...DECISIONS.map(([, action]) => h('i', { 'data-kind': action, style: `width:${(100 * queue.filter((item) => item.action === action).length) / Math.max(1, queue.length)}%` })));
  if (!progress) return;
  $('.rv-all').textContent = progress.text;
  $('.rv-risk').textContent = progress.risk;
}

function drawDone() {
  const open = queue.filter(isOpen).length;
  $('.rv-done').hidden = open > 0;
  $('.rv-done strong').textContent = queue.length ? 'Every row of this batch is decided' : 'Nothing is waiting for a decision';
  $('.rv-done span').textContent = queue.length ? 'Go on with the next batch, or freeze the dataset below.' : 'Every row is decided. Freeze the dataset below, or find a row above.';
  $('.rv-more').hidden = !queue.length;
}

function drawAll() { drawQueue(); drawProgress(null); drawDone(); showCard(); }

function move(index) {
  if (!queue.length) return;
  at = Math.min(queue.length - 1, Math.max(0, index));
  revealed = false;
  chips.clear();
  comment.value = '';
  drawChips();
  drawQueue();
  showCard();
}

function decide(action) {
  const item = current();
  if (!item) return;
  outbox.push({ kind: 'decide', row: item.row, action, reason: reasonText([...chips], comment.value), before: item.action || null, dataset: data.dataset });
  item.action = action;
  say('Saving\u2026');
  if (document.activeElement === comment) comment.blur();
  const ahead = nextOpen(queue, at);
  move(ahead >= 0 ? ahead : at);
  drawProgress(null);
  drawDone();
}

function step(kind) {
  if (!data) return;
  outbox.push({ kind, dataset: data.dataset });
  say(kind === 'undo' ? 'Undoing\u2026' : 'Doing it again\u2026');
}

// What came back for the message under way.
function settle(receipt) {
  const message = outbox.settle(receipt);
  if (!message) return;
  if (!outbox.busy) clearTimeout(timeout);
  if (!receipt.ok) { fail(message, receipt.error); return; }
  if (receipt.row !== null && receipt.row !== undefined) {
    forget(receipt.row);
    const place = placeOf(queue, receipt.row), action = receipt.action === 'clear' ? null : receipt.action;
    if (message.kind !== 'decide' && place >= 0) { queue[place].action = action; move(place); }
  }
  drawQueue();
  drawProgress(receipt.progress);
  drawDone();
  drawRecent(receipt.recent);
  say(receipt.text, 'done');
  clearTimeout(quiet);
  quiet = setTimeout(() => { if (!outbox.busy) trigger('settled', {}); }, 700); // the freeze plan below is counted anew
}

function fail(message, error) {
  if (message.kind === 'decide') { const place = placeOf(queue, message.row); if (place >= 0) queue[place].action = message.before; }
  drawAll();
  say('', 'error');
  statusLine.append(h('span', { text: `Not saved. ${error || ''} ` }),
    h('button', { type: 'button', class: 'rs-button', text: `Try again (${outbox.failures})`, onclick: () => { say('Saving\u2026'); outbox.retry(); } }),
    h('button', { type: 'button', class: 'rs-button', 'data-kind': 'quiet', text: 'Give up', onclick: () => { for (const one of outbox.drop()) { const place = placeOf(queue, one.row); if (place >= 0 && one.kind === 'decide') queue[place].action = one.before; } say(''); drawAll(); } }));
}

function drawRecent(recent) {
  $('.rv-recent-title').hidden = !recent || !recent.length;
  $('.rv-recent').replaceChildren(...(recent || []).map((entry) => h('li', {}, h('button', { type: 'button', onclick: () => openRow(entry.row) }, h('b', { text: number(entry.row) }), h('span', { text: `${entry.what}, ${entry.when}` })))));
}

function openRow(row) {
  const place = placeOf(queue, row);
  move(place >= 0 ? place : insertAfter(queue, at, { row, why: 'asked', score: null, action: null }));
  drawDone();
}

function reveal(wanted) { revealed = wanted; showCard(); }

function drawChips() {
  $('.rv-chips').replaceChildren(...REASONS.map((reason) => h('button', {
    type: 'button', class: 'rv-chip', 'aria-pressed': String(chips.has(reason)), text: reason,
    onclick: () => { if (chips.has(reason)) chips.delete(reason); else chips.add(reason); drawChips(); },
  })));
}

// Digits go to that row; words list rows that hold them.
async function find() {
  const text = go.value.trim();
  found.hidden = !text || /^\d[\d,]*$/.test(text);
  if (found.hidden) return;
  const reply = await server.srv_find({ dataset: data.dataset, search: text, mask: rs.masked });
  if (go.value.trim() !== text) return;
  const lines = reply && reply.ok ? reply.rows : [];
  found.replaceChildren(...lines.map((one) => h('li', {}, h('button', { type: 'button', onclick: () => { closeFind(); openRow(one.row); } }, h('b', { text: number(one.row) }), h('span', { class: one.masked ? 'rs-masked' : '', text: one.prompt })))));
  if (!lines.length) found.append(h('li', { class: 'cd-none', text: (reply && reply.error) || 'No row holds these words.' }));
}
function closeFind() { found.hidden = true; go.value = ''; go.blur(); }

go.addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(find, 200); });
go.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') closeFind();
  else if (event.key === 'ArrowDown' && !found.hidden) found.querySelector('button')?.focus();
  else if (event.key === 'Enter') {
    const digits = go.value.replace(/,/g, '').trim();
    if (/^\d+$/.test(digits)) { closeFind(); openRow(Number(digits)); } else found.querySelector('button')?.click();
  } else return;
  event.preventDefault();
});
comment.addEventListener('keydown', (event) => { if (event.key === 'Escape' || event.key === 'Enter') { comment.blur(); event.preventDefault(); } });
$('.rv-more').addEventListener('click', () => trigger('batch', { dataset: data.dataset }));
$('.rv-buttons').append(...DECISIONS.map(([key, action, label]) => h('button', { type: 'button', class: `rv-action rv-${action}`, title: MEANING[action], onclick: () => decide(action) }, h('kbd', { class: 'rs-key', text: key }), label)),
  h('span', { class: 'rv-steps' }, h('button', { type: 'button', class: 'rs-button', text: 'Undo', title: 'Undo (Z)', onclick: () => step('undo') }), h('button', { type: 'button', class: 'rs-button', text: 'Redo', title: 'Redo (Shift+Z)', onclick: () => step('redo') })));

// Opens the sheet for many rows, which is Gradio's own accordion further down the page.
function openBulk() {
  const sheet = document.getElementById(props.bulk);
  if (!sheet) return;
  const field = () => sheet.querySelector('input');
  if (!field()?.offsetParent) sheet.querySelector('button')?.click();
  setTimeout(() => { sheet.scrollIntoView({ block: 'center' }); field()?.focus(); }, 120);
}

const KEYS = [
  ['j', 'Next row', () => move(at + 1)], ['k', 'Previous row', () => move(at - 1)],
  ['ArrowDown', 'Next row', () => move(at + 1)], ['ArrowUp', 'Previous row', () => move(at - 1)],
  ...DECISIONS.map(([key, action, label]) => [key, label, () => decide(action)]),
  ['r', 'Reveal or mask the text', () => reveal(!revealed)], ['c', 'Comment', () => comment.focus()],
  ['z', 'Undo', () => step('undo')], ['Z', 'Redo', () => step('redo')],
  ['g', 'Go to row', () => go.focus()], ['/', 'Find rows', () => go.focus()], ['b', 'Decide many rows', openBulk],
];
for (const [key, label, run] of KEYS) rs.key(key, label, () => { if (data && element.isConnected) run(); });

function drawKeys(typingNow) {
  const shown = [['J', 'K', 'next, previous'], ['1', '4', 'decide'], ['R', 'reveal'], ['C', 'comment'], ['Z', 'undo'], ['\u21e7Z', 'redo'], ['G', 'go to row'], ['/', 'find'], ['B', 'many rows'], ['?', 'all keys']];
  const paused = !rs.keysOn ? 'Keys are off (Settings)' : typingNow ? 'Keys paused while you type' : '';
  $('.rv-keys').dataset.paused = paused ? '1' : '';
  $('.rv-keys').replaceChildren(...(paused ? [h('span', { class: 'rs-badge', 'data-kind': 'warn', text: paused })] : []),
    ...shown.map((entry) => h('span', {}, ...entry.slice(0, -1).flatMap((key, i) => [i ? '\u2013' : '', h('kbd', { class: 'rs-key', text: key })]), ` ${entry[entry.length - 1]}`)));
}
rs.on('rs:typing', (event) => drawKeys(event.detail.typing));

const remask = () => { drawKeys(false); if (data && masked !== rs.masked) { masked = rs.masked; revealed = false; cards.clear(); showCard(); } };
rs.on('rs:state', remask);
rs.on('rs:mask', remask);

function draw() {
  data = readJson(props.value, null);
  element.closest('.block').hidden = panel.hidden = !data;
  if (!data) return;
  cards.clear();
  masked = rs.masked;
  queue = data.queue.map((item) => ({ ...item, action: item.action || null }));
  const first = queue.findIndex(isOpen);
  at = Math.max(0, first);
  say('');
  drawProgress(data.progress);
  drawRecent(data.recent);
  if (data.start !== null && data.start !== undefined) openRow(data.start); else move(at);
  drawDone();
}
drawKeys(false);
watch('receipt', () => { const receipt = readJson(props.receipt, null); if (receipt) settle(receipt); });
watch('value', draw);
draw();
