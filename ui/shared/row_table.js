// A table over any number of rows: about twenty row elements, filled from the server as one scrolls. value = JSON of {dataset, key,
// threshold, missing}; server: srv_rows, srv_card, srv_choices, srv_sql; event "make_index" {dataset}. It follows `rs:threshold` and `rs:filter`
// (a change, see `patched`), tells `rs:filtered` {filter} and `rs:why` {dataset, row, …}. Text arrives cleaned and masked from the server.
const ROW = 34, TALLEST = 8e6, MARGIN = 40;
const $ = (selector) => element.querySelector(selector);
const panel = $('.rt'), grid = $('.rt-grid'), scroller = $('.rt-scroll'), layer = $('.rt-layer'), space = $('.rt-space'), detail = $('.rt-detail');
const search = $('.rt-search input'), NEAREST = { ...NO_FILTER, order: 'borderline' };
let filter = NEAREST, at = 0, set = -1;
let data = null, total = 0, page = null, first = 0, active = 0, opened = null, revealed = false, masked = null, pool = [], typing = 0, following = 0;

const visible = () => Math.max(1, Math.floor(scroller.clientHeight / ROW));
const signature = () => JSON.stringify([data.dataset, data.key, toQuery(filter), at, rs.masked]);
const lastFirst = () => Math.max(0, total - visible());
const squeezed = () => total * ROW > TALLEST;
const asking = (more) => ({ dataset: data.dataset, key: data.key, t: data.key ? at : null, mask: rs.masked, ...more });

// Browsers stop at about 17 million pixels, so beyond TALLEST the scroll position is a share of the rows, not a count of pixels.
const firstFromScroll = () => {
  const room = space.offsetHeight - scroller.clientHeight;
  if (room <= 0) return 0;
  return Math.min(lastFirst(), squeezed() ? Math.round((scroller.scrollTop / room) * lastFirst()) : Math.floor(scroller.scrollTop / ROW));
};
function scrollTo(row) {
  scroller.scrollTop = squeezed() ? (row / Math.max(1, lastFirst())) * (space.offsetHeight - scroller.clientHeight) : row * ROW;
  set = scroller.scrollTop;
}

const fetchRows = lastWins(async ({ signature: wanted, from }) => {
  const offset = Math.max(0, from - MARGIN), limit = visible() + 2 * MARGIN;
  const reply = await server.srv_rows(asking({ filter: toQuery(filter), offset, limit }));
  if (wanted !== signature()) return;
  if (!reply || !reply.ok) { page = null; show((reply && reply.error) || 'The rows could not be read. Is the app still running?'); return; }
  total = reply.total;
  page = { signature: wanted, offset: reply.offset, rows: reply.rows };
  space.style.height = `${Math.min(TALLEST, Math.max(total * ROW, 1))}px`;
  if (first > lastFirst()) first = lastFirst();
  $('.rt-note').textContent = reply.note || '';
  $('.rt-note').hidden = !reply.note;
  $('.rt-index').hidden = !reply.index;
  paint();
});

function show(problem) {
  $('.rt-none').hidden = !problem && total > 0;
  scroller.hidden = Boolean(problem) || total === 0;
  const narrow = chipsOf(filter, String, String).length > 0;
  const nothing = narrow ? 'No row matches these filters.' : { flagged: 'No row is flagged at this threshold.', unreached: 'Every row has been reached.', kept: 'Every row is flagged at this threshold.' }[filter.side] || 'There are no rows.';
  $('.rt-none').textContent = problem || nothing;
  if (problem) $('.rt-foot').textContent = '';
}

function cells() {
  const row = h('div', { class: 'rt-row', role: 'row' });
  for (const name of ['id', 'score', 'decision', 'origin', 'prompt']) row.append(h('span', { class: `rt-${name}`, role: 'gridcell' }));
  row.children[1].append(h('i', { 'aria-hidden': 'true' }, h('b')), h('span'));
  return layer.appendChild(row);
}

function fill(node, row, position) {
  node.hidden = false;
  node.id = `${grid.dataset.uid}-${position}`;
  node.dataset.position = position;
  node.dataset.row = row.row;
  node.setAttribute('aria-rowindex', position + 2);
  node.setAttribute('aria-selected', String(position === active));
  const [id, score, decision, origin, prompt] = node.children, known = row.score !== null;
  id.textContent = number(row.row);
  score.lastChild.textContent = known ? signed(row.score) : row.waiting ? 'not yet' : 'none';
  score.dataset.kind = row.flagged ? 'flag' : '';
  score.firstChild.hidden = !known;
  if (known) { score.style.setProperty('--at', `${50 * (row.score + 1)}%`); score.style.setProperty('--line', `${50 * (at + 1)}%`); }
  decision.replaceChildren(decisionBadge(row.decision, row.effective));
  origin.textContent = row.origin;
  prompt.textContent = row.prompt;
  prompt.classList.toggle('rs-masked', row.masked);
}

// Columns that say the same nothing in every row that is here; without scores, that nobody decided is no news either.
const VALUE = { score: (row) => row.score !== null || row.waiting, decision: (row) => row.decision || data.key, origin: (row) => row.origin };
function collapse() {
  const empty = Object.keys(VALUE).filter((name) => page && page.rows.length && !page.rows.some(VALUE[name]));
  grid.dataset.empty = empty.join(' ');
  grid.setAttribute('aria-colcount', 5 - empty.length);
}

function paint() {
  show('');
  collapse();
  const wanted = Math.min(total, visible() + 1);
  while (pool.length < wanted) pool.push(cells());
  pool.forEach((node, i) => {
    const row = i < wanted && page && page.rows[first + i - page.offset];
    if (row) fill(node, row, first + i); else node.hidden = true;
  });
  grid.setAttribute('aria-rowcount', total + 1);
  grid.setAttribute('aria-activedescendant', `${grid.dataset.uid}-${active}`);
  const last = Math.min(total, first + visible());
  $('.rt-foot').textContent = total ? `Rows ${number(first + 1)} to ${number(last)} of ${number(total)}` : '0 rows';
}

// True if the rows on screen are already here: then nothing is fetched.
const holds = () => page && page.signature === signature() && first >= page.offset && Math.min(total, first + visible()) <= page.offset + page.rows.length;

function refresh() {
  if (!data) return;
  if (holds()) { paint(); return; }
  if (!page) show('Reading the rows\u2026');
  fetchRows({ signature: signature(), from: first });
}

function restart() { first = active = 0; scrollTo(0); refresh(); }

function activate(position) {
  active = Math.min(total - 1, Math.max(0, position));
  if (active < first || active >= first + visible()) {
    first = Math.min(lastFirst(), Math.max(0, active < first ? active : active - visible() + 1));
    scrollTo(first);
  }
  refresh();
}

// The tabs, the heads, the chips and the address say what the filter is.
function tell(write = true) {
  const tab = filter.side === 'all' && filter.order === 'borderline' ? 'borderline' : filter.side;
  panel.querySelectorAll('[role=tab]').forEach((one) => one.setAttribute('aria-selected', String(one.dataset.side === tab)));
  const sorted = { score: ['score', 'descending'], '-score': ['score', 'ascending'], borderline: ['score', 'other'], file: ['file', 'ascending'] }[filter.order];
  panel.querySelectorAll('[data-order]').forEach((head) => { head.parentNode.setAttribute('aria-sort', head.dataset.order === sorted[0] ? sorted[1] : 'none'); head.dataset.by = filter.order; });
  const chips = chipsOf(filter, pick.titles, signed, pick.shown);
  const drawn = chips.map((chip) => h('button', { type: 'button', class: 'rt-chip', title: 'Take this filter off', onclick: () => change(chip.off) }, h('span', { text: chip.kind }), h('b', { text: chip.text }), h('i', { 'aria-label': 'take off', text: '\u00d7' })));
  if (chips.length > 1) drawn.push(h('button', { type: 'button', class: 'rs-button rt-clear', 'data-kind': 'quiet', text: 'Clear all', onclick: () => { filter = { ...NO_FILTER, side: filter.side, order: filter.order, facets: [] }; changed(); } }));
  $('.rt-chips').replaceChildren(...drawn);
  $('.rt-chips').hidden = !chips.length;
  const query = new URLSearchParams(Object.entries(toQuery(filter)).flatMap(([name, value]) => [].concat(value).map((one) => [name, one])));
  $('.rt-queue').hidden = !chips.length && filter.side === 'all';
  $('.rt-queue').href = `/review?${query}`;
  if (search !== document.activeElement) search.value = filter.search;
  pick.draw();
  if (write) address();
  rs.emit('rs:filtered', { filter });
}
function address() {
  const url = new URL(withFilter(location.href, filter));
  const plain = JSON.stringify(toQuery(filter));
  if (plain === JSON.stringify(toQuery(NEAREST))) url.searchParams.delete('order');
  else if (plain === '{}') url.searchParams.set('side', 'all');
  if (opened === null) url.searchParams.delete('row'); else url.searchParams.set('row', opened);
  if (url.href !== location.href) history.replaceState(history.state, '', url);
}
function changed() { tell(); restart(); }
// What was typed and not yet searched for counts too.
function change(what) {
  if (typing) { clearTimeout(typing); typing = 0; what = { search: search.value.trim(), ...what }; }
  filter = patched(filter, what);
  changed();
}

async function open(row) {
  opened = row;
  address();
  if (await card(row)) rs.emit('rs:why', { dataset: data.dataset, row, open: true, revealed });
}
// Also when the line has moved: what the card says of a row depends on it. True if the row is still the opened one.
async function card(row) {
  const reply = await server.srv_card({ ...asking({ row, reveal: revealed }), ...(data.key ? {} : { t: undefined }) });
  if (opened !== row) return false;
  detail.hidden = false;
  panel.dataset.open = '1';
  $('.rt-review').href = `/review?row=${row}`;
  if (reply && reply.ok) drawCard($('.rt-card'), reply.card, { threshold: data.key ? at : null, compact: true, onReveal: (wanted) => { revealed = wanted; open(row); } });
  else $('.rt-card').replaceChildren(h('p', { class: 'cd-none', text: (reply && reply.error) || 'This row could not be read.' }));
  return true;
}

function close() {
  opened = null;
  detail.hidden = true;
  delete panel.dataset.open;
  address();
  rs.emit('rs:why', { row: null });
  grid.focus({ preventScroll: true });
}

const choices = async () => {
  const reply = await server.srv_choices(asking({}));
  if (reply && reply.ok) sql.describe(reply);
  return reply;
};
const pick = makePick($('.rt-pick'), { ask: choices, change, filter: () => filter });
const sql = makeSql($('.rt-sql'), { ask: (query, reveal) => server.srv_sql(asking({ query, reveal })), use: (query) => change({ sql: query }) });
function fold(button, part, focus) {
  part.hidden = !part.hidden;
  button.setAttribute('aria-expanded', String(!part.hidden));
  if (part.hidden) return;
  if (!pick.known) pick.load().then(() => tell(false));
  if (focus) focus();
}

grid.addEventListener('keydown', (event) => {
  if (event.target !== grid) return;
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: visible(), PageUp: -visible(), Home: -total, End: total }[event.key];
  if (step !== undefined) activate(active + step);
  else if (event.key === 'Enter' || event.key === ' ') { const row = page && page.rows[active - page.offset]; if (row) { revealed = false; open(row.row); } }
  else if (event.key === 'Escape' && !detail.hidden) close();
  else return;
  event.preventDefault();
});
layer.addEventListener('click', (event) => {
  const node = event.target.closest('.rt-row');
  if (!node) return;
  active = Number(node.dataset.position);
  revealed = false;
  paint();
  open(Number(node.dataset.row));
});
scroller.addEventListener('scroll', () => {
  if (Math.abs(scroller.scrollTop - set) < 1) return; // where we put it: a squeezed position would name a neighbouring row
  set = -1;
  const next = firstFromScroll();
  if (next !== first) { first = next; refresh(); }
}, { passive: true });
// Among a million rows one pixel of the bar is several rows, but the wheel goes on by rows.
scroller.addEventListener('wheel', (event) => {
  if (!squeezed() || event.ctrlKey || !event.deltaY) return;
  const rows = event.deltaMode === 1 ? event.deltaY : event.deltaMode === 2 ? event.deltaY * visible() : event.deltaY / ROW;
  const next = Math.min(lastFirst(), Math.max(0, first + (Math.round(rows) || Math.sign(rows))));
  if (next === first) return;
  event.preventDefault();
  first = next;
  scrollTo(first);
  refresh();
}, { passive: false });
panel.querySelectorAll('[role=tab]').forEach((tab) => tab.addEventListener('click', () => change(tab.dataset.side === 'borderline' ? { side: 'all', order: 'borderline' } : { side: tab.dataset.side, order: data.key ? 'score' : 'file' })));
panel.querySelectorAll('[data-order]').forEach((head) => head.addEventListener('click', () => {
  const turn = { score: '-score', '-score': 'borderline' };
  change({ order: head.dataset.order === 'file' ? 'file' : turn[filter.order] || 'score' });
}));
search.addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(() => change({}), 180); });
search.addEventListener('keydown', (event) => { if (event.key === 'Escape') { search.value = ''; change({ search: '' }); grid.focus(); } });
$('.rt-more').addEventListener('click', () => fold($('.rt-more'), $('.rt-pick')));
$('.rt-ask').addEventListener('click', () => fold($('.rt-ask'), $('.rt-sql'), sql.focus));
$('.rt-close').addEventListener('click', close);
$('.rt-index').addEventListener('click', () => { trigger('make_index', { dataset: data.dataset }); $('.rt-index').hidden = true; });
rs.key('/', 'Search rows', () => search.focus());
rs.on('rs:filter', (event) => { if (data) change(event.detail); });
rs.on('rs:threshold', (event) => {
  if (!data || event.detail.key !== data.key || event.detail.dataset !== data.dataset) return;
  const moved = at !== event.detail.t;
  at = event.detail.t;
  if (moved && opened !== null) { clearTimeout(following); following = setTimeout(() => { if (data && opened !== null) card(opened); }, 120); }
  for (const [side, n] of [['flagged', event.detail.flagged], ['kept', event.detail.kept]]) panel.querySelector(`[data-side=${side}] span`).textContent = number(n);
  refresh();
});
const remask = () => { if (data && masked !== rs.masked) { masked = rs.masked; revealed = false; refresh(); sql.again(); if (opened !== null) open(opened); } };
rs.on('rs:state', remask);
rs.on('rs:mask', remask);
rs.on('rs:changed', () => { if (data && filter.search) { page = null; refresh(); } });
new ResizeObserver(() => { if (data && !panel.hidden) refresh(); }).observe(scroller);

function draw() {
  const before = data && `${data.dataset} ${data.key}`;
  data = readJson(props.value, null);
  element.closest('.block').hidden = panel.hidden = !data;
  if (!data) return;
  for (const [side, n] of [['unscored', data.missing], ['unreached', data.waiting]]) {
    const tab = panel.querySelector(`[data-side=${side}]`);
    tab.hidden = !n || !data.key;
    tab.lastChild.textContent = number(n || 0);
  }
  for (const side of ['borderline', 'flagged', 'kept']) panel.querySelector(`[data-side=${side}]`).hidden = !data.key;
  const same = before === `${data.dataset} ${data.key}`;
  page = same && page ? { ...page, signature: '' } : null; // what is on the screen stays until the new rows are there
  masked = rs.masked;
  if (!same) begin(before === null); else refresh();
  rs.emit('rs:threshold-wanted');
}
// Other rows: the filter of the address when the page opens, none for another dataset, whose labels may be others.
function begin(opening) {
  at = data.threshold === null ? 0 : data.threshold;
  const given = new URLSearchParams(location.search), linked = opening && PARAMETERS.some((name) => given.has(name));
  filter = linked ? fromSearch(location.search) : { ...(data.key ? NEAREST : { ...NO_FILTER, order: 'file' }), facets: [] };
  if (filter.sql) { sql.fill(filter.sql); }
  pick.forget();
  sql.clear();
  if (!opening && opened !== null) close();
  if (!$('.rt-pick').hidden || !$('.rt-sql').hidden || filter.facets.length) pick.load().then(() => tell(false));
  tell(!opening);
  restart();
  if (opening && /^\d+$/.test(given.get('row') || '')) open(Number(given.get('row')));
}
grid.dataset.uid = `rt${Math.random().toString(36).slice(2, 8)}`;
watch('value', draw);
draw();
