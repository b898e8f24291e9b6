// All runs: searched, filtered by tags, sorted; the selected one opens below its line, ticked ones are compared setting by setting.
// dom.js, marks.js, setting_rows.js and run_details.js come first. It asks for the runs itself (srv_runs), more often while one is on its
// way; an answer without rows says that nothing changed. A value {turn, run, done, error, gone} is the outcome of an action.
// Events: "pick" {run}, "say" {run, field, value}, "go_on" {run}, "remove" {run}.
const LIVE_MS = 2000, IDLE_MS = 6000;
const $ = (name) => element.querySelector(`.rh-${name}`);
const head = element.querySelector('thead'), body = element.querySelector('tbody');
const COLUMNS = [
  ['Run', (row) => row.title], ['State', (row) => row.state], ['Task loss', (row) => row.curve?.value], ['HS', (row) => row.hs?.value, 'lower is better'],
  ['FA', (row) => row.fa?.value, 'higher is better'], ['Cost', (row) => row.seconds], ['Created', (row) => row.time],
];
const lines = new Map(), only = new Set();
let rows = [], empty = {}, stamp = '', loaded = false, busy = false, again = false, timer = null, heard = null;
let selected = new URL(location.href).searchParams.get('run') || '', ticked = [], sort = { column: null, down: false };
const details = runDetails({
  say: (what) => trigger('say', what),
  goOn: (run) => trigger('go_on', { run }),
  remove: (run) => trigger('remove', { run }),
  deletion: (run) => server.srv_deletion({ run }),
}, COLUMNS.length + 1);

// ---- cells
function estimate(found, beside) {
  if (!found) return h('td', { class: 'rh-none', text: '–' });
  return h('td', { class: 'rh-value' }, h('b', { text: `${found.value.toFixed(1)} %` }), h('small', { text: `${found.low.toFixed(1)} to ${found.high.toFixed(1)}, n\u00a0=\u00a0${found.n}` }),
    beside ? h('small', { text: `over-refusal ${beside.value.toFixed(1)} %`, title: `${beside.low.toFixed(1)} to ${beside.high.toFixed(1)}, n = ${beside.n}` }) : null);
}

function curve(found, colour) {
  if (!found) return h('td', { class: 'rh-none', text: '–' });
  const line = svg('svg', { viewBox: '0 0 88 22', class: 'rh-curve', role: 'img', 'aria-label': found.words }, svg('title', { text: found.words }), svg('path', { d: found.path, style: `stroke: ${colour}` }));
  return h('td', { class: 'rh-value' }, line, h('small', { text: found.last }));
}

function cells(row) {
  const tick = h('input', { type: 'checkbox', 'aria-label': `Compare the settings of ${row.title}` });
  tick.checked = ticked.includes(row.id);
  tick.onchange = () => { ticked = tick.checked ? [...ticked, row.id] : ticked.filter((id) => id !== row.id); compare(); };
  const tags = row.tags.length ? h('span', { class: 'rh-line' }, ...row.tags.map((tag) => h('span', { class: 'rh-tag' }, h('span', { text: tag })))) : null;
  return [
    h('td', {}, tick),
    h('td', { class: 'rh-what' }, h('span', { class: 'rh-name' }, mark(row.colour, row.shape), h('span', { text: row.title })), h('span', { class: 'rh-sub', text: row.sub }), tags),
    h('td', {}, h('span', { class: 'rs-badge', 'data-kind': row.kind, text: row.state, title: row.message }), row.progress ? h('small', { class: 'rh-progress', text: row.progress }) : null),
    curve(row.curve, row.colour), estimate(row.hs, row.over), estimate(row.fa),
    h('td', { class: 'rh-value' }, row.took, row.memory ? h('small', { text: row.memory }) : null),
    h('td', { class: 'rh-when', text: row.when })];
}

function lineOf(row) {
  const told = JSON.stringify(row);
  let one = lines.get(row.id);
  if (!one) {
    one = { node: h('tr', { 'data-run': row.id, 'data-pick': '', tabindex: '0' }), told: '' };
    const { node } = one;
    node.onclick = (event) => { if (!event.target.closest('a, button, input')) select(row.id === selected ? '' : row.id); };
    node.onkeydown = (event) => { if ((event.key === 'Enter' || event.key === ' ') && event.target === node) { event.preventDefault(); select(row.id === selected ? '' : row.id); } };
    lines.set(row.id, one);
  }
  if (one.told !== told) {
    const within = one.node.contains(document.activeElement) && document.activeElement !== one.node;
    one.told = told;
    one.node.replaceChildren(...cells(row));
    if (within) one.node.querySelector('input').focus({ preventScroll: true });
  }
  one.node.setAttribute('aria-selected', String(row.id === selected));
  one.node.setAttribute('aria-expanded', String(row.id === selected));
  return one.node;
}

// ---- which rows, in which order
function shown() {
  const words = $('search').value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = rows.filter((row) => words.every((word) => row.words.includes(word)) && [...only].every((tag) => row.tags.includes(tag)));
  if (sort.column === null) return found;
  const by = COLUMNS[sort.column][1], sign = sort.down ? -1 : 1, none = (value) => value === undefined || value === null;
  return [...found].sort((a, b) => {
    const [x, y] = [by(a), by(b)];
    if (none(x) || none(y)) return none(x) - none(y);
    return sign * (typeof x === 'string' ? x.localeCompare(y, undefined, { numeric: true }) : x - y);
  });
}

function header() {
  head.replaceChildren(h('tr', {}, h('th', { scope: 'col', 'aria-label': 'Compare settings' }), ...COLUMNS.map(([title, , note], i) => {
    const now = sort.column === i ? (sort.down ? 'descending' : 'ascending') : 'none', click = h('button', { type: 'button', text: title });
    if (now !== 'none') click.append(sort.down ? ' ↓' : ' ↑');
    click.onclick = () => { sort = sort.column === i && sort.down ? { column: null, down: false } : { column: i, down: sort.column === i }; draw(); };
    return h('th', { scope: 'col', 'aria-sort': now }, click, note ? h('small', { text: note }) : null);
  })));
}

function tags() {
  const counts = new Map();
  for (const row of rows) for (const tag of row.tags) counts.set(tag, (counts.get(tag) || 0) + 1);
  for (const tag of only) if (!counts.has(tag)) only.delete(tag);
  $('tags').replaceChildren(...[...counts].sort(([a], [b]) => a.localeCompare(b)).map(([tag, count]) => {
    const button = h('button', { type: 'button', class: 'rh-tag', 'aria-pressed': String(only.has(tag)), 'data-tag': tag }, h('span', { text: tag }), h('b', { text: String(count) }));
    button.onclick = () => { only.has(tag) ? only.delete(tag) : only.add(tag); draw(); };
    return button;
  }));
  return [...counts.keys()];
}

// Nodes stay where they are unless their place changes: what a person types in the open run keeps its cursor.
function place(nodes) {
  const active = document.activeElement, wanted = new Set(nodes);
  for (const node of [...body.children]) if (!wanted.has(node)) node.remove();
  nodes.forEach((node, i) => { if (body.children[i] !== node) body.insertBefore(node, body.children[i] || null); });
  if (active !== document.activeElement && body.contains(active)) active.focus({ preventScroll: true });
}

function draw() {
  const known = tags(), found = shown(), open = found.find((row) => row.id === selected);
  $('empty').hidden = rows.length > 0 || !loaded;
  $('empty').querySelector('strong').textContent = empty.title || '';
  $('empty').querySelector('span').textContent = empty.text || '';
  $('tools').hidden = !rows.length;
  $('nothing').hidden = !rows.length || found.length > 0;
  element.querySelector('.rs-table-wrap').hidden = !found.length;
  $('count').textContent = found.length < rows.length ? `${found.length} of ${rows.length} runs` : `${rows.length} ${rows.length === 1 ? 'run' : 'runs'}`;
  header();
  if (open) details.show(open, known);
  else details.hide();
  place(found.flatMap((row) => (row === open ? [lineOf(row), details.node] : [lineOf(row)])));
}

// ---- what a person does
function select(run) {
  selected = run;
  const address = new URL(location.href);
  if (run) address.searchParams.set('run', run);
  else address.searchParams.delete('run');
  history.replaceState(history.state, '', address);
  draw();
  if (!run) return;
  details.node.scrollIntoView({ block: 'nearest' });
  trigger('pick', { run });
}

const compare = lastWins(async () => {
  const first = $('differ').hidden;
  $('differ').hidden = ticked.length < 2;
  if (ticked.length < 2) return;
  const found = await server.srv_settings({ runs: ticked });
  settingRows($('settings'), found?.ok ? found : { empty: found?.error || 'The app did not answer. Try again.' });
  if (first) window.rs.answered($('differ'));
});

$('search').addEventListener('input', draw);
$('all').onclick = () => { $('search').value = ''; only.clear(); draw(); };
$('untick').onclick = () => { ticked = []; for (const tick of body.querySelectorAll('input[type=checkbox]')) tick.checked = false; compare(); };

// ---- data
async function load() {
  clearTimeout(timer);
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = document.hidden ? null : await server.srv_runs({ stamp });
    if (answer?.ok) take(answer);
  } finally {
    busy = false;
    if (again) { again = false; load(); } else timer = setTimeout(load, rows.some((row) => row.live) ? LIVE_MS : IDLE_MS);
  }
}

function take(answer) {
  loaded = true;
  ({ stamp, empty } = answer);
  if (!answer.rows) return;
  const first = !rows.length;
  rows = answer.rows;
  for (const id of lines.keys()) if (!rows.some((row) => row.id === id)) lines.delete(id);
  const now = !rows.some((row) => row.id === selected) && selected && rows.find((row) => row.was === selected); // it was stopped and saved
  if (now) select(now.id);
  if (!rows.some((row) => row.id === selected) && !first) selected = '';
  const left = ticked.filter((id) => rows.some((row) => row.id === id));
  if (left.length !== ticked.length || left.length > 1) { ticked = left; compare(); }
  draw();
}

function hear() {
  const told = props.value || {};
  if (!told.turn || told.turn === heard) return;
  heard = told.turn;
  const said = $('said'), open = !told.gone && details.heard(told);
  if (told.gone && told.run === selected) select('');
  said.hidden = open || !(told.error || told.done);
  said.textContent = told.error || told.done || '';
  said.dataset.kind = told.error ? 'error' : 'done';
  load();
}

document.addEventListener('visibilitychange', () => { if (!document.hidden) load(); });
window.rs.on('rs:refresh', load);
watch('value', hear);
draw();
load();
