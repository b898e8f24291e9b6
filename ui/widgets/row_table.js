// A table over any number of rows: about twenty row elements, filled from the server as one scrolls. value = JSON of
// {dataset, key, threshold, missing}; server: srv_rows, srv_card; follows `rs:threshold`. Text arrives cleaned and masked from the server.
const ROW = 34, TALLEST = 8e6, MARGIN = 40;
const $ = (selector) => element.querySelector(selector);
const panel = $('.rt'), grid = $('.rt-grid'), scroller = $('.rt-scroll'), layer = $('.rt-layer'), space = $('.rt-space'), detail = $('.rt-detail');
const search = $('.rt-search input');
const query = { side: 'borderline', search: '', t: 0 };
let data = null, total = 0, page = null, first = 0, active = 0, opened = null, revealed = false, masked = null, pool = [], typing = 0;

const visible = () => Math.max(1, Math.floor(scroller.clientHeight / ROW));
const signature = () => JSON.stringify([data.dataset, data.key, query.side, query.search, query.side === 'all' ? 0 : query.t, rs.masked]);
const lastFirst = () => Math.max(0, total - visible());

// Browsers stop at about 17 million pixels, so beyond TALLEST the scroll position is a share of the rows, not a count of pixels.
const firstFromScroll = () => {
  const room = space.offsetHeight - scroller.clientHeight;
  if (room <= 0) return 0;
  return Math.min(lastFirst(), total * ROW <= TALLEST ? Math.floor(scroller.scrollTop / ROW) : Math.round((scroller.scrollTop / room) * lastFirst()));
};
const scrollFor = (row) => (total * ROW <= TALLEST ? row * ROW : (row / Math.max(1, lastFirst())) * (space.offsetHeight - scroller.clientHeight));

const fetchRows = lastWins(async ({ signature: wanted, from }) => {
  const offset = Math.max(0, from - MARGIN), limit = visible() + 2 * MARGIN;
  const reply = await server.srv_rows({ dataset: data.dataset, key: data.key, t: query.t, side: query.side, search: query.search, offset, limit, mask: rs.masked });
  if (wanted !== signature()) return;
  if (!reply || !reply.ok) { page = null; show((reply && reply.error) || 'The rows could not be read. Is the app still running?'); return; }
  total = reply.total;
  page = { signature: wanted, offset: reply.offset, rows: reply.rows };
  space.style.height = `${Math.min(TALLEST, Math.max(total * ROW, 1))}px`;
  if (first > lastFirst()) first = lastFirst();
  paint();
});

function show(problem) {
  $('.rt-none').hidden = !problem && total > 0;
  scroller.hidden = Boolean(problem) || total === 0;
  const nothing = query.search ? 'No row matches this search.' : { flagged: 'No row is flagged at this threshold.', kept: 'Every row is flagged at this threshold.' }[query.side] || 'There are no rows.';
  $('.rt-none').textContent = problem || nothing;
}

function cells() {
  const row = h('div', { class: 'rt-row', role: 'row' });
  for (const name of ['id', 'score', 'decision', 'origin', 'prompt']) row.append(h('span', { class: `rt-${name}`, role: 'gridcell' }));
  return layer.appendChild(row);
}

function fill(node, row, position) {
  node.hidden = false;
  node.id = `${grid.dataset.uid}-${position}`;
  node.dataset.position = position;
  node.dataset.row = row.row;
  node.setAttribute('aria-rowindex', position + 2);
  node.setAttribute('aria-selected', String(position === active));
  const [id, score, decision, origin, prompt] = node.children;
  id.textContent = number(row.row);
  score.textContent = row.score === null ? 'none' : signed(row.score);
  score.dataset.kind = row.flagged ? 'flag' : '';
  decision.replaceChildren(decisionBadge(row.decision, row.effective));
  origin.textContent = row.origin;
  prompt.textContent = row.prompt;
  prompt.classList.toggle('rs-masked', row.masked);
}

function paint() {
  show('');
  const wanted = Math.min(total, visible() + 1);
  while (pool.length < wanted) pool.push(cells());
  pool.forEach((node, i) => {
    const row = i < wanted && page && page.rows[first + i - page.offset];
    if (row) fill(node, row, first + i); else node.hidden = true;
  });
  grid.setAttribute('aria-rowcount', total + 1);
  grid.setAttribute('aria-activedescendant', `${grid.dataset.uid}-${active}`);
  const last = Math.min(total, first + visible());
  $('.rt-foot').textContent = total ? `Rows ${number(first + 1)} to ${number(last)} of ${number(total)}` : '';
}

// True if the rows on screen are already here: then nothing is fetched.
const holds = () => page && page.signature === signature() && first >= page.offset && Math.min(total, first + visible()) <= page.offset + page.rows.length;

function refresh() {
  if (!data) return;
  if (holds()) { paint(); return; }
  if (!page) show('Reading the rows\u2026');
  fetchRows({ signature: signature(), from: first });
}

function restart() { first = active = 0; scroller.scrollTop = 0; refresh(); }

function activate(position) {
  active = Math.min(total - 1, Math.max(0, position));
  if (active < first || active >= first + visible()) {
    first = Math.min(lastFirst(), Math.max(0, active < first ? active : active - visible() + 1));
    scroller.scrollTop = scrollFor(first);
  }
  refresh();
}

async function open(row) {
  opened = row;
  const reply = await server.srv_card({ dataset: data.dataset, row, t: query.t, reveal: revealed, mask: rs.masked });
  if (opened !== row) return;
  detail.hidden = false;
  panel.dataset.open = '1';
  $('.rt-review').href = `/review?row=${row}`;
  if (reply && reply.ok) drawCard($('.rt-card'), reply.card, { threshold: query.t, compact: true, onReveal: (wanted) => { revealed = wanted; open(row); } });
  else $('.rt-card').replaceChildren(h('p', { class: 'cd-none', text: (reply && reply.error) || 'This row could not be read.' }));
}

function close() { opened = null; detail.hidden = true; delete panel.dataset.open; grid.focus({ preventScroll: true }); }

function choose(side) {
  query.side = side;
  panel.querySelectorAll('[role=tab]').forEach((tab) => tab.setAttribute('aria-selected', String(tab.dataset.side === side)));
  restart();
}

grid.addEventListener('keydown', (event) => {
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
scroller.addEventListener('scroll', () => { const next = firstFromScroll(); if (next !== first) { first = next; refresh(); } }, { passive: true });
panel.querySelectorAll('[role=tab]').forEach((tab) => tab.addEventListener('click', () => choose(tab.dataset.side)));
search.addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(() => { query.search = search.value.trim(); restart(); }, 180); });
search.addEventListener('keydown', (event) => { if (event.key === 'Escape') { search.value = ''; query.search = ''; restart(); grid.focus(); } });
$('.rt-close').addEventListener('click', close);
rs.key('/', 'Search rows', () => search.focus());
rs.on('rs:threshold', (event) => {
  if (!data || event.detail.key !== data.key || event.detail.dataset !== data.dataset) return;
  query.t = event.detail.t;
  for (const [side, n] of [['flagged', event.detail.flagged], ['kept', event.detail.kept]]) panel.querySelector(`[data-side=${side}] span`).textContent = number(n);
  refresh();
});
const remask = () => { if (data && masked !== rs.masked) { masked = rs.masked; revealed = false; refresh(); if (opened !== null) open(opened); } };
rs.on('rs:state', remask);
rs.on('rs:mask', remask);
new ResizeObserver(() => { if (data && !panel.hidden) refresh(); }).observe(scroller);

function draw() {
  const before = data && `${data.dataset} ${data.key}`;
  data = readJson(props.value, null);
  element.closest('.block').hidden = panel.hidden = !data;
  if (!data) return;
  const unscored = panel.querySelector('[data-side=unscored]');
  unscored.hidden = !data.missing;
  unscored.lastChild.textContent = number(data.missing);
  page = null;
  masked = rs.masked;
  if (before !== `${data.dataset} ${data.key}`) { query.t = data.threshold; if (opened !== null) close(); restart(); } else refresh();
  rs.emit('rs:threshold-wanted');
}
grid.dataset.uid = `rt${Math.random().toString(36).slice(2, 8)}`;
watch('value', draw);
draw();
