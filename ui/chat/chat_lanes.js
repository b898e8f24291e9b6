// Side-by-side chat: one composer, a column of answers per model. dom.js and marks.js come first.
// Python sends the whole exchange so far at most 20 times a second; this file draws it by textContent.
const MOST = 4, SETUP_MS = 4000;
const $ = (name) => element.querySelector(`.cl-${name}`);
const box = element.querySelector('textarea');
const exchanges = new Map();
const stopped = new Set();
let setup = { models: [], chips: [], chosen: [] };
let way = 'beside'; // what a prompt does while a job has the device
let chosen = null, running = null, wide = null, drawnModels = '', drawnChips = '';

const masked = () => window.rs.masked;
const known = (id) => setup.models.find((model) => model.id === id);

// ---- which models answer; kept in the address so that a reload or a link brings them back
function fromAddress() {
  const asked = new URL(location.href).searchParams.get('models');
  return asked ? asked.split(',').slice(0, MOST) : null;
}

// Only models of one base can answer side by side.
const apart = (model) => chosen.length > 0 && known(chosen[0]).base !== model.base;
const inOrder = (ids) => setup.models.map((model) => model.id).filter((id) => ids.includes(id));

function toggle(id) {
  if (chosen.includes(id)) chosen = chosen.filter((one) => one !== id);
  else if (chosen.length < MOST) chosen = inOrder([...chosen, id]);
  const address = new URL(location.href);
  address.searchParams.set('models', chosen.join(','));
  history.replaceState(null, '', address);
  drawModels();
}

function drawModels() {
  const key = JSON.stringify([setup.models, chosen]);
  if (key === drawnModels) return;
  drawnModels = key;
  $('models').replaceChildren(...setup.models.map((model) => {
    const on = chosen.includes(model.id);
    const chip = h('button', { type: 'button', class: 'cl-model', 'aria-pressed': String(on), title: model.detail, disabled: !on && (chosen.length >= MOST || apart(model)) });
    chip.append(mark(model.colour, model.shape), h('span', { text: model.title }));
    chip.onclick = () => toggle(model.id);
    return chip;
  }));
  $('limit').textContent = setup.models.length ? `${chosen.length} of at most ${MOST} chosen` : '';
  ready();
}

function drawChips() {
  const key = JSON.stringify([setup.chips, masked()]);
  if (key === drawnChips) return;
  drawnChips = key;
  $('chips').replaceChildren(...setup.chips.map((chip) => {
    const hide = chip.kind === 'harmful' && masked();
    const node = h('button', { type: 'button', class: 'cl-chip', 'data-kind': chip.kind, title: hide ? 'Sends this prompt; its text stays masked' : 'Sends this prompt' });
    node.append(h('b', { text: chip.label }), h('span', { text: hide ? maskedText(chip.text) : chip.text }));
    node.onclick = () => send(chip.text, chip.kind === 'harmful');
    return node;
  }));
}

function drawNotice() {
  const busy = setup.device;
  $('notice').hidden = !busy;
  if (!busy) return;
  $('notice').firstElementChild.textContent = busy.text;
  $('notice').dataset.kind = busy.kind;
  const choices = $('choices');
  if (choices.dataset.key === busy.key) return;
  choices.dataset.key = busy.key;
  choices.replaceChildren();
  if (busy.ways) {
    const ways = h('select', { class: 'cl-way', 'aria-label': 'What to do with a prompt while a job has the device' });
    ways.append(...busy.ways.map(([value, text]) => h('option', { value, text })));
    ways.value = way;
    ways.onchange = () => { way = ways.value; };
    choices.append(ways, h('a', { href: '/train', text: 'See its progress' }));
  } else if (busy.give) {
    const give = h('button', { type: 'button', class: 'rs-button cl-small cl-give', text: 'Give the device back' });
    give.onclick = () => { give.disabled = true; trigger('free', {}); setTimeout(() => { give.disabled = false; refresh(); }, 1500); };
    choices.append(give);
  }
}

function drawEmpty() {
  const none = $('empty');
  none.hidden = exchanges.size > 0;
  if (none.hidden) return;
  if (!setup.ready) { none.textContent = ''; return; }
  none.replaceChildren(
    h('p', { class: 'cl-lead', text: setup.models.length ? 'The same prompt goes to every chosen model at once.' : 'There is no model to chat with yet.' }),
    setup.models.length
      ? h('p', { text: 'Pick an example below or write your own. Answers to prompts that the filter flags or does not read stay masked until you reveal them. Nothing said here is stored.' })
      : h('a', { class: 'rs-button', href: '/train', text: 'Train a model' }));
}

// ---- one exchange
function cell(exchange, lane, column) {
  const parts = { lane, revealed: false };
  parts.badge = h('span', { class: 'rs-badge' });
  parts.body = h('div', { class: 'cl-text' });
  parts.reveal = h('button', { type: 'button', class: 'rs-button cl-small', text: 'Reveal' });
  parts.reveal.onclick = () => { parts.revealed = !parts.revealed; fill(exchange, parts); };
  parts.foot = h('div', { class: 'cl-foot' });
  parts.node = h('article', { class: 'cl-cell', tabindex: '-1', 'data-column': column, 'aria-label': `Answer of ${lane.title}` },
    h('header', {}, mark(lane.colour, lane.shape), h('span', { class: 'cl-who', text: lane.title, title: lane.title }), parts.badge), parts.body, parts.reveal, parts.foot);
  return parts;
}

function fill(exchange, parts) {
  const lane = parts.lane;
  const hide = (exchange.hide || exchange.unread || setup.mask_all) && masked();
  const text = hide && !parts.revealed && lane.text ? maskedText(lane.text) : lane.text;
  parts.body.textContent = lane.state === 'failed' ? lane.message : text;
  parts.node.dataset.state = lane.state;
  parts.badge.textContent = lane.badge;
  parts.badge.dataset.kind = lane.badge_kind;
  parts.badge.hidden = !lane.badge;
  parts.foot.textContent = lane.foot;
  parts.reveal.hidden = !hide || !lane.text;
  parts.reveal.textContent = parts.revealed ? 'Mask again' : 'Reveal';
}

function gauge({ value, threshold, flagged }) {
  const x = (cosine) => 4 + 92 * (Math.max(-1, Math.min(1, cosine)) + 1) / 2;
  const track = svg('svg', { viewBox: '0 0 100 18', class: 'cl-gauge', 'aria-hidden': 'true', 'data-over': String(flagged) },
    svg('rect', { x: 4, y: 8, width: 92, height: 3, rx: 1.5, class: 'cl-track' }),
    svg('rect', { x: x(threshold), y: 8, width: 96 - x(threshold), height: 3, class: 'cl-over' }),
    svg('line', { x1: x(threshold), x2: x(threshold), y1: 3, y2: 16, class: 'cl-tau' }),
    svg('circle', { cx: x(value), cy: 9.5, r: 4, class: 'cl-dot' }));
  return track;
}

function drawPrompt(exchange, data) {
  const hide = (exchange.hide || data.gauge?.flagged) && masked() && !exchange.shown;
  exchange.prompt.textContent = hide ? maskedText(data.prompt) : data.prompt;
  exchange.peek.hidden = !(exchange.hide && masked());
  exchange.peek.textContent = exchange.shown ? 'Mask again' : 'Reveal';
  const key = JSON.stringify(data.gauge);
  if (key === exchange.gaugeKey) return;
  exchange.gaugeKey = key;
  exchange.meter.replaceChildren();
  if (!data.gauge) return;
  if (data.gauge.value !== null) exchange.meter.append(gauge(data.gauge));
  exchange.meter.append(h('span', { text: data.gauge.text }));
}

function begin(turn, prompt, harmful) {
  const exchange = { turn, hide: harmful, shown: false, gaugeKey: null, cells: new Map() };
  exchange.prompt = h('p', { class: 'cl-prompt' });
  exchange.peek = h('button', { type: 'button', class: 'rs-button cl-small', text: 'Reveal' });
  exchange.peek.onclick = () => { exchange.shown = !exchange.shown; drawPrompt(exchange, exchange.data); };
  exchange.meter = h('div', { class: 'cl-meter' });
  exchange.lanes = h('div', { class: 'cl-lanes' });
  exchange.problem = h('p', { class: 'rs-note', 'data-kind': 'flag', hidden: true });
  exchange.warning = h('p', { class: 'rs-note cl-warning', 'data-kind': 'warn', role: 'status', hidden: true });
  const asked = h('div', { class: 'cl-asked' }, exchange.prompt, exchange.peek, exchange.meter);
  exchange.node = h('div', { class: 'cl-exchange' }, asked, exchange.warning, exchange.problem, exchange.lanes);
  exchange.data = { prompt, gauge: null, lanes: [], ended: false };
  exchanges.set(turn, exchange);
  $('thread').append(exchange.node);
  return exchange;
}

function drawExchange(data) {
  const exchange = exchanges.get(data.turn) || begin(data.turn, data.prompt, false);
  const thread = $('thread');
  const near = thread.scrollHeight - thread.scrollTop - thread.clientHeight < 80;
  exchange.data = data;
  exchange.hide = exchange.hide || Boolean(data.gauge?.flagged);
  exchange.unread = Boolean(data.warning);
  exchange.warning.textContent = data.warning;
  exchange.warning.hidden = !data.warning;
  drawPrompt(exchange, data);
  data.lanes.forEach((lane, i) => {
    let parts = exchange.cells.get(lane.id);
    if (!parts) {
      parts = cell(exchange, lane, i + 1);
      exchange.cells.set(lane.id, parts);
      exchange.lanes.append(parts.node);
      exchange.lanes.style.setProperty('--columns', String(exchange.cells.size));
      widen();
    }
    parts.lane = lane;
    fill(exchange, parts);
  });
  exchange.problem.textContent = data.problem;
  exchange.problem.hidden = !data.problem;
  if (near) thread.scrollTop = thread.scrollHeight;
  if (data.ended && running === data.turn) finish();
}

function redraw() {
  for (const exchange of exchanges.values()) {
    drawPrompt(exchange, exchange.data);
    for (const parts of exchange.cells.values()) fill(exchange, parts);
  }
  drawChips();
}

// ---- asking and stopping
function ready() {
  $('send').disabled = running !== null || !chosen?.length || !box.value.trim();
  $('send').hidden = running !== null;
  $('stop').hidden = running === null;
  for (const chip of $('chips').children) chip.disabled = running !== null || !chosen?.length;
}

function finish() { running = null; ready(); }

function send(text, harmful) {
  const prompt = text.trim();
  if (running !== null || !prompt || !chosen.length) return;
  running = Date.now();
  const exchange = begin(running, prompt, harmful);
  drawPrompt(exchange, exchange.data);
  drawEmpty();
  ready();
  $('thread').scrollTop = $('thread').scrollHeight;
  const field = (name) => Number(element.querySelector(`.cl-${name}`).value);
  trigger('send', { turn: running, prompt, models: chosen, way, max_new_tokens: field('tokens'), temperature: field('temperature'), seed: field('seed') });
}

function stop() {
  if (running === null) return;
  stopped.add(running);
  trigger('stop', {});
  const exchange = exchanges.get(running);
  for (const parts of exchange.cells.values()) {
    if (parts.lane.state === 'writing' || parts.lane.state === 'waiting') parts.lane = { ...parts.lane, state: 'stopped', foot: 'Stopped by you' };
    fill(exchange, parts);
  }
  finish();
}

// ---- keys
function widen() {
  for (const exchange of exchanges.values()) {
    const cells = [...exchange.cells.values()];
    const use = wide !== null && wide <= cells.length && cells.length > 1;
    exchange.lanes.style.gridTemplateColumns = use ? cells.map((_, i) => (i + 1 === wide ? '2.4fr' : '1fr')).join(' ') : '';
    cells.forEach((parts, i) => parts.node.toggleAttribute('data-wide', use && i + 1 === wide));
  }
}

function focusColumn(column) {
  if (!exchanges.size) return;
  wide = wide === column ? null : column;
  widen();
  const last = [...exchanges.values()].pop();
  [...last.cells.values()][column - 1]?.node.focus({ preventScroll: true });
  last.node.scrollIntoView({ block: 'nearest' });
}

box.addEventListener('input', ready);
element.addEventListener('keydown', (event) => { if (event.key === 'Escape') stop(); });
for (const column of [1, 2, 3, 4]) window.rs.key(String(column), `Widen answer column ${column}`, () => focusColumn(column));
window.rs.key('Escape', 'Stop the answers', stop);
window.rs.key('ctrl+Enter', 'Send the prompt', () => element.querySelector('form').requestSubmit());
element.querySelector('form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (running !== null || !chosen?.length || !box.value.trim()) return;
  send(box.value, false);
  box.value = '';
  ready();
});
$('stop').onclick = stop;
$('clear').onclick = () => { if (running === null) { for (const exchange of exchanges.values()) exchange.node.remove(); exchanges.clear(); drawEmpty(); } };
for (const name of ['rs:mask', 'rs:state']) window.rs.on(name, redraw);

// ---- what there is to talk to, and who holds the device
async function refresh() {
  if (document.hidden) return;
  const answer = await server.srv_setup({});
  if (!answer?.ok) return;
  const first = !setup.ready;
  setup = { ...answer, ready: true };
  if (first) {
    chosen = (fromAddress() || setup.chosen).filter(known);
    if (!chosen.length) chosen = setup.chosen;
    $('tokens').value = setup.tokens;
    $('tokens').max = setup.most_tokens;
    $('temperature').value = 0;
    $('seed').value = 0;
  }
  chosen = inOrder(chosen);
  drawModels();
  drawChips();
  drawNotice();
  drawEmpty();
  ready();
}

watch('value', () => {
  const data = props.value;
  if (data && data.turn && !stopped.has(data.turn)) drawExchange(data);
});
refresh();
setInterval(refresh, SETUP_MS);
