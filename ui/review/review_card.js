// The review: a batch of rows, one card at a time, decided by keys. The next cards are fetched ahead, so they appear at once; "Saved"
// is said only after the store has answered. value: see review_card.py; receipt = JSON of {n, ok, error, disputed, row, action, head,
// progress, recent}; server: srv_card, srv_find, srv_pulse.
const $ = (selector) => element.querySelector(selector);
const panel = $('.rv'), go = $('.rv-go input'), comment = $('.rv-comment'), statusLine = $('.rv-status');
const PATIENCE_MS = 10000, AHEAD = 3, PLACE_MS = 300;
let data = null, queue = [], at = 0, cards = new Map(), card = null, revealed = false, whole = false, seen = false, masked = null, chips = new Set(), timeout = 0, quiet = 0, placing = 0;

const outbox = makeOutbox((message) => {
  clearTimeout(timeout);
  timeout = setTimeout(() => settle({ n: message.n, ok: false, error: 'The app did not answer. Is it still running?' }), PATIENCE_MS);
  trigger(message.kind, message);
}, unsaved.keep);
const current = () => queue[at];
const by = () => storedName() || (data ? data.me : 'me');
const desk = {
  $, by, data: () => data, rows: () => queue.map((item) => item.row), busy: () => outbox.busy, alive: () => element.isConnected,
  send: (kind, message) => trigger(KINDS[kind], message), find: (request) => server.srv_find(request),
  renamed() { names.draw(); cards.clear(); showCard(); place(); },
};
const KINDS = { decide: 'decide', undo: 'undo', redo: 'redo', batch: 'batch', place: 'place', opened: 'opened', habits: 'habits', settled: 'settled' };
const names = makeNames(desk), habits = makeHabits(desk, names), exposure = makeExposure(desk);
const say = (text, kind = '') => { statusLine.replaceChildren(text); statusLine.dataset.kind = kind; };

function cardOf(row) {
  const here = row === (current() || {}).row, reveal = here && revealed, all = here && whole, key = `${row} ${reveal} ${all}`;
  if (!cards.has(key)) cards.set(key, server.srv_card({ dataset: data.dataset, row, reveal, whole: all, mask: rs.masked, by: by() }));
  return cards.get(key);
}
const forget = (row) => { for (const key of [...cards.keys()]) if (key.startsWith(`${row} `)) cards.delete(key); };

// How far down the card begins, so that it can be as high as the window has room for.
const measure = () => { if (!panel.hidden) panel.style.setProperty('--rv-top', `${Math.round($('.rv-split').getBoundingClientRect().top + scrollY)}px`); };
new ResizeObserver(measure).observe($('.rv-top'));

async function showCard() {
  const item = current(), asked = revealed, wanted = whole;
  $('.rv-decide').hidden = $('.rv-card').hidden = !item;
  if (!item) { $('.rv-others').hidden = true; return; }
  const waiting = cardOf(item.row);
  for (const row of comingRows(queue, at, AHEAD)) cardOf(row);
  const reply = await waiting;
  if (!data || current() !== item || asked !== revealed || wanted !== whole) return;
  card = reply && reply.ok ? reply.card : null;
  if (card) {
    drawCard($('.rv-card'), { ...card, decision: item.action || card.decision, seen: item.action ? item.seen : card.seen }, { threshold: data.threshold, why: WHY_LONG[item.why], onReveal: reveal, onWhole: showWhole, hold: data.habits.reveal === 'hold' });
    seen = seen || allShown(card);
    rs.emit('rs:why', { dataset: data.dataset, row: blind(item) ? null : item.row, revealed: card.revealed });
  } else {
    forget(item.row);
    $('.rv-card').replaceChildren(h('p', { class: 'cd-none', text: (reply && reply.error) || 'This row could not be read. Is the app still running?' }));
    rs.emit('rs:why', { row: null });
  }
  drawOthers();
}

// What other people think of the row on the card.
function drawOthers() {
  const box = $('.rv-others'), opinions = ((card || {}).opinions || []), others = opinions.filter((one) => !one.mine);
  box.hidden = !others.length && !(card && card.approval);
  if (box.hidden) return;
  box.dataset.conflict = card.conflict ? '1' : '0';
  const line = (one) => h('span', {}, h('b', { text: one.mine ? 'You' : one.by }), `: ${ACTIONS[one.action]}${one.seen === false ? ', unseen' : ''}, ${one.when}${one.reason ? `: ${one.reason}` : ''}`);
  box.replaceChildren(...(card.conflict ? [h('b', { text: 'You do not agree on this row.' })] : []), ...(others.length ? opinions.map(line) : []), ...(card.approval ? [h('span', { text: card.approval })] : []));
}

// The row on the screen is remembered in the project and in the address, so that a reload or another browser opens it.
function place() {
  clearTimeout(placing);
  placing = setTimeout(() => {
    const item = current();
    if (!item || item.row < 0 || !data || !element.isConnected) return;
    trigger('place', { dataset: data.dataset, by: by(), row: item.row });
    const address = new URL(location.href);
    address.searchParams.set('row', item.row);
    if (data.order === 'borderline') address.searchParams.delete('queue'); else address.searchParams.set('queue', data.order);
    history.replaceState(history.state, '', address);
  }, PLACE_MS);
}

function drawQueue() {
  const list = $('.rv-queue');
  while (list.children.length > queue.length) list.lastChild.remove();
  queue.forEach((item, i) => {
    const line = list.children[i] || list.appendChild(h('li', {}, h('button', { type: 'button', onclick: () => { move(i); } }, h('b'), h('span'), h('i'))));
    const [row, why, mark] = line.firstChild.children;
    line.firstChild.title = WHY_LONG[item.why] || '';
    line.firstChild.setAttribute('aria-current', i === at ? 'true' : 'false');
    row.textContent = number(shownNumber(item));
    why.textContent = item.check ? 'check' : WHY[item.why] || '';
    mark.textContent = item.action ? `${item.by ? `${item.by}: ` : ''}${ACTIONS[item.action]}${item.seen === false ? ', unseen' : ''}` : '';
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
  for (const part of ['risk', 'reader', 'above', 'file', 'people']) $(`.rv-${part}`).textContent = progress[part] || '';
  $('.rv-plain').hidden = !progress.plain;
  $('.rv-plain p').textContent = progress.plain || '';
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
  revealed = whole = seen = false;
  chips.clear();
  comment.value = '';
  closeDispute();
  drawChips();
  drawQueue();
  showCard();
  place();
}

// `stance`: what to do about another person's different decision: '' (ask), 'overrule' or 'differ' (let both stand).
function decide(action, stance = '') {
  const item = current();
  if (!item) return;
  const other = card && card.row === item.row ? card.other : null;
  if (!stance && other && other.action !== action) { openDispute(action, `${other.by} ${other.past} this row, ${other.when}.`); return; }
  const reason = reasonText([...chips], comment.value);
  if (stance === 'overrule' && !reason) { comment.focus(); say('Give a reason, then press Enter.', 'error'); return; }
  const before = { action: item.action || null, by: item.by || null, seen: item.seen };
  item.action = action;
  item.by = null;
  item.seen = seen;
  const ahead = nextOpen(queue, at), next = ahead >= 0 ? ahead : at;
  outbox.push({ kind: 'decide', row: item.row, action, reason, stance, seen, before, next: queue[next].row, by: by(), dataset: data.dataset });
  saving('Saving\u2026');
  if (document.activeElement === comment) comment.blur();
  move(next);
  drawProgress(null);
  drawDone();
  exposure.worked();
}

function openDispute(action, told) {
  const box = $('.rv-dispute');
  const button = (text, kind, run) => h('button', { type: 'button', class: 'rs-button', 'data-kind': kind, text, onclick: run });
  box.replaceChildren(h('p', { text: `${told} You chose ${ACTIONS[action]}.` }),
    button('Overrule with a reason', 'primary', () => decide(action, 'overrule')), button('Let both opinions stand', null, () => decide(action, 'differ')), button('Cancel', 'quiet', closeDispute));
  box.hidden = false;
  box.dataset.action = action;
  box.querySelector('button').focus();
}
function closeDispute() {
  const box = $('.rv-dispute');
  if (box.contains(document.activeElement)) document.activeElement.blur();
  box.hidden = true;
  box.replaceChildren();
}
$('.rv-dispute').addEventListener('keydown', (event) => { if (event.key === 'Escape') { closeDispute(); event.stopPropagation(); } });

function step(kind) {
  if (!data) return;
  outbox.push({ kind, dataset: data.dataset, by: by() });
  saving(kind === 'undo' ? 'Undoing\u2026' : 'Doing it again\u2026');
}

// What came back for the message under way.
function settle(receipt) {
  const message = outbox.settle(receipt);
  if (!message) return;
  if (!outbox.busy) clearTimeout(timeout);
  if (!receipt.ok) { if (receipt.disputed) dispute(message, receipt.error); else fail(message, receipt.error); return; }
  if (receipt.row !== null && receipt.row !== undefined) {
    forget(receipt.row);
    const spot = placeOf(queue, receipt.row), action = receipt.action === 'clear' ? null : receipt.action;
    if (message.kind !== 'decide' && spot >= 0) { queue[spot].action = action; queue[spot].by = null; queue[spot].seen = receipt.seen; move(spot); }
  }
  data.head = receipt.head;
  markCheck(queue, receipt);
  drawQueue();
  drawProgress(receipt.progress);
  drawDone();
  drawRecent(receipt.recent);
  say(receipt.text, 'done');
  clearTimeout(quiet);
  quiet = setTimeout(() => { if (!outbox.busy && element.isConnected) trigger('settled', {}); }, 700); // the freeze plan below is counted anew
}

const giveBack = (message) => { const spot = placeOf(queue, message.row); if (message.kind === 'decide' && spot >= 0) Object.assign(queue[spot], message.before); };

// Somebody else decided the row a moment ago: it is shown again, and the person says what is to hold.
function dispute(message, error) {
  const [, ...rest] = outbox.drop();
  say('');
  giveBack(message);
  forget(message.row);
  openRow(message.row);
  seen = message.seen; // it is the same decision, only late
  openDispute(message.action, String(error).split('. ')[0] + '.');
  comment.value = message.reason;
  for (const one of rest) outbox.push(one);
}

function fail(message, error) {
  giveBack(message);
  drawAll();
  unsent(error);
}
const saving = (text) => { if (outbox.failures) unsent(''); else say(text); };
function unsent(error) {
  say('', 'error');
  statusLine.append(h('span', { text: `Not saved. ${error || ''} ` }),
    h('button', { type: 'button', class: 'rs-button', text: `Try again (${outbox.failures})`, onclick: () => { say('Saving\u2026'); outbox.retry(); } }),
    h('button', { type: 'button', class: 'rs-button', 'data-kind': 'quiet', text: 'Give up', onclick: () => { outbox.drop().forEach(giveBack); say(''); drawAll(); } }));
}

function drawRecent(recent) {
  $('.rv-recent-title').hidden = !recent || !recent.length;
  $('.rv-recent').replaceChildren(...(recent || []).map((entry) => h('li', {}, h('button', { type: 'button', onclick: () => openRow(entry.row) }, h('b', { text: number(entry.row) }), h('span', { text: `${entry.by === by() ? '' : `${entry.by}: `}${entry.what}, ${entry.when}` })))));
}

function openRow(row) {
  const spot = placeOf(queue, row);
  move(spot >= 0 ? spot : insertAfter(queue, at, { row, why: 'asked', score: null, action: null, was: null, by: null }));
  drawDone();
}

// Only what was on the screen to its end was read: not what is masked, cut, or still on its way from the app.
const allShown = (one) => one.texts.every((part) => !part.masked && !part.cut);
function showWhole() { whole = true; showCard(); }

function reveal(wanted) {
  if (wanted === revealed) return;
  revealed = wanted;
  const masked = card && card.texts.some((part) => part.masked);
  showCard();
  if (wanted && masked) exposure.one();
}

function drawChips() {
  $('.rv-chips').replaceChildren(...REASONS.map((reason) => h('button', {
    type: 'button', class: 'rv-chip', 'aria-pressed': String(chips.has(reason)), text: reason,
    onclick: () => { if (chips.has(reason)) chips.delete(reason); else chips.add(reason); drawChips(); },
  })));
}

makeFinder(desk, openRow);
comment.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' && event.key !== 'Enter') return;
  event.preventDefault();
  comment.blur();
  const waiting = $('.rv-dispute');
  if (event.key === 'Enter' && !waiting.hidden) decide(waiting.dataset.action, 'overrule');
});
const more = (order, query) => trigger('batch', { by: by(), order, query });
const nextBatch = () => more(data.order, data.query);
$('.rv-more').addEventListener('click', nextBatch);
$('.rv-who').addEventListener('click', () => habits.open());
$('.rv-order select').addEventListener('change', (event) => { event.target.blur(); reorder(event.target.value); });

function reorder(order) {
  dropFilter();
  say('The queue is put in order\u2026');
  more(order, '');
}
function nextOrder() {
  const names = data.orders.map(([name]) => name), here = names.indexOf(data.query ? '' : data.order);
  reorder(names[(here + 1) % names.length]);
}
function dropFilter() {
  const address = new URL(location.href);
  for (const name of ['side', 'low', 'high', 'search', 'label', 'decided', 'sql', 'other', 'change', 'order']) address.searchParams.delete(name);
  history.replaceState(history.state, '', address);
}
function drawDesk() {
  names.draw();
  $('.rv-order select').replaceChildren(...(data.query ? [h('option', { value: '', text: 'This filter', selected: true })] : []), ...data.orders.map(([value, text]) => h('option', { value, text, selected: !data.query && value === data.order })));
  const chip = $('.rv-filter');
  chip.hidden = !data.query;
  chip.replaceChildren(`${data.words.join(', ')}: ${number(data.matching)} ${data.matching === 1 ? 'row' : 'rows'}`, h('button', { type: 'button', 'aria-label': 'Take the filter off', text: '\u00d7', onclick: () => reorder('borderline') }));
  $('.rv-note').hidden = !data.note;
  $('.rv-note').textContent = data.note;
  exposure.start(data.opened);
}
$('.rv-buttons').append(...DECISIONS.map(([key, action, label]) => h('button', { type: 'button', class: `rv-action rv-${action}`, title: MEANING[action], onclick: () => decide(action) }, h('kbd', { class: 'rs-key', text: key }), label)));
$('.rv-steps').append(h('button', { type: 'button', class: 'rs-button', text: 'Undo', title: 'Undo (Z)', onclick: () => step('undo') }), h('button', { type: 'button', class: 'rs-button', text: 'Redo', title: 'Redo (Shift+Z)', onclick: () => step('redo') }));

// Opens the sheet for many rows, which is Gradio's own accordion further down the page. The focus goes to its head: a list that
// gets the focus would open over the fields.
function openBulk() {
  const sheet = document.getElementById(props.bulk);
  const head = sheet?.querySelector('button');
  if (!head) return;
  if (!sheet.querySelector('input')?.offsetParent) head.click();
  head.focus({ preventScroll: true });
  sheet.scrollIntoView({ block: 'start' });
}

function openEnd() {
  const button = [...document.querySelectorAll('#freeze-button, #frozen-export')].find((one) => one.offsetParent);
  if (!button) return;
  button.scrollIntoView({ block: 'center' });
  button.focus();
}

const holds = () => data.habits.reveal === 'hold';
const KEYS = [
  ['j', 'Next row', () => move(at + 1), true], ['k', 'Previous row', () => move(at - 1), true],
  ['ArrowDown', 'Next row', () => move(at + 1), true], ['ArrowUp', 'Previous row', () => move(at - 1), true],
  ...DECISIONS.map(([key, action, label]) => [key, label, () => decide(action)]),
  ['r', 'Reveal or mask the text', () => reveal(holds() || !revealed)], ['c', 'Comment', () => comment.focus()],
  ['z', 'Undo', () => step('undo')], ['Z', 'Redo', () => step('redo')],
  ['g', 'Go to row', () => go.focus()], ['/', 'Find rows', () => go.focus()], ['b', 'Decide many rows', openBulk],
  ['n', 'Next batch', nextBatch], ['o', 'Next order of the queue', nextOrder], ['p', 'How you review', () => habits.open()],
  ['e', 'Freeze and export', openEnd],
];
// A held key moves on, but decides once.
for (const [key, label, run, repeats] of KEYS) rs.key(key, label, (event) => { if (data && element.isConnected && (repeats || !event?.repeat)) run(); });
document.addEventListener('keyup', (event) => { if (event.key === 'r' && data && element.isConnected && holds()) reveal(false); });
window.addEventListener('blur', () => { if (data && element.isConnected && holds()) reveal(false); });

function drawKeys(typingNow) {
  const shown = [['J', 'K', 'next, previous'], ['1', '4', 'decide'], ['R', 'reveal'], ['C', 'comment'], ['Z', '\u21e7Z', 'undo, redo'], ['G', 'go to, find'], ['B', 'many rows'], ['N', 'next batch'], ['O', 'order'], ['W', 'why'], ['E', 'freeze'], ['?', 'all keys']];
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
  if (!data) { queue = []; card = null; return; }
  cards.clear();
  masked = rs.masked;
  queue = data.queue.map((item) => ({ ...item, action: null, by: null, was: item.held || null }));
  at = Math.max(0, queue.findIndex(isOpen));
  saving('');
  drawDesk();
  drawProgress(data.progress);
  drawRecent(data.recent);
  if (data.start !== null && data.start !== undefined) openRow(data.start); else move(at);
  sendLeft();
  drawDone();
}
// What was decided while the app was away is saved now.
function sendLeft() {
  if (outbox.busy || outbox.failures) return;
  for (const message of unsaved.take(data.dataset, data.recent)) {
    const spot = placeOf(queue, message.row);
    if (spot >= 0) Object.assign(queue[spot], { action: message.action, seen: message.seen });
    outbox.push(message);
    say('Saving what was decided while the app was away\u2026');
  }
  if (outbox.busy && !isOpen(current() || {})) move(Math.max(0, nextOpen(queue, at)));
}
makePulse(desk, (request) => server.srv_pulse(request), (reply) => {
  const changed = mergeHeld(queue, reply.held, by());
  changed.forEach(forget);
  drawQueue();
  drawProgress(reply.progress);
  drawDone();
  drawRecent(reply.recent);
  if (current()) { forget(current().row); showCard(); }
  clearTimeout(quiet);
  quiet = setTimeout(() => { if (!outbox.busy && element.isConnected) trigger('settled', {}); }, 700);
});
drawKeys(false);
watch('receipt', () => { const receipt = readJson(props.receipt, null); if (receipt) settle(receipt); });
watch('value', draw);
draw();
