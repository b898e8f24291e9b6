// Runs with their numbers and intervals, of which several are ticked. dom.js and marks.js come first.
// It fetches its rows by srv_runs and again when the value changes; what is picked is kept in the address.
// Event "pick" carries {runs: [id, …], dark, by_hand}. It is also sent once after loading and when the theme changes.
// A value {anew: …} takes back what was picked: the choice of the server holds again.
const PARAMETER = 'runs';
const head = element.querySelector('thead'), body = element.querySelector('tbody');
const COLUMNS = [
  ['Run', (row) => row.title], ['HS: complied', (row) => row.hs?.value, 'lower is better'], ['Refused', (row) => row.refused?.value],
  ['Other', (row) => row.other?.value, 'garbled, off topic'], ['Over-refusal', (row) => row.over?.value, 'lower is better'],
  ['FA', (row) => row.fa?.value, 'higher is better'], ['Finished', (row) => row.time],
];
let data = { rows: [], empty: {} }, chosen = [], sort = { column: null, down: false }, loaded = false, taken = null;

function range(estimate, colour) {
  const x = (value) => 2 + 112 * Math.max(0, Math.min(100, value)) / 100;
  return svg('svg', { viewBox: '0 0 116 10', class: 'rt-range', 'aria-hidden': 'true' },
    svg('line', { x1: 2, x2: 114, y1: 5, y2: 5, class: 'rt-track' }),
    svg('line', { x1: x(estimate.low), x2: Math.max(x(estimate.high), x(estimate.low) + 0.5), y1: 5, y2: 5, class: 'rt-span', style: `stroke: ${colour}` }),
    svg('circle', { cx: x(estimate.value), cy: 5, r: 3.6, style: `fill: ${colour}` }));
}

function value(estimate, colour, beside = '') {
  if (!estimate) return h('td', { class: 'rt-none', text: 'not evaluated' });
  const cell = h('td', { class: colour ? 'rt-value' : 'rt-value rt-slim', title: `n = ${estimate.n}` }, h('b', { text: `${estimate.value.toFixed(1)} %` }), h('small', { text: `${estimate.low.toFixed(1)} to ${estimate.high.toFixed(1)}` }));
  if (colour) cell.append(range(estimate, colour));
  if (beside) cell.append(h('small', { class: 'rt-beside', text: beside }));
  return cell;
}

const beside = (estimate, words) => (estimate ? `${words} ${estimate.value.toFixed(1)} %` : '');

function line(row) {
  const on = chosen.includes(row.id);
  const node = h('tr', { 'data-run': row.id, 'data-off': Boolean(row.off), 'aria-selected': String(on) });
  const check = h('input', { type: 'checkbox', 'aria-label': `Compare ${row.title}`, disabled: Boolean(row.off) });
  check.checked = on;
  check.onchange = () => pick(row.id);
  node.append(h('td', {}, check));
  const links = h('span', { class: 'rt-links' }, ...row.links.map(([text, href]) => h('a', { href, text })));
  node.append(
    h('td', { class: 'rt-what' }, h('span', { class: 'rt-name' }, mark(row.colour, row.shape), h('span', { text: row.title })), h('span', { class: 'rt-sub', text: row.off || row.sub })),
    value(row.hs, row.colour, beside(row.not_refused, 'not refused')), value(row.refused), value(row.other),
    value(row.over, row.colour), value(row.fa, row.colour, beside(row.fa_lenient, 'lenient')),
    h('td', { text: row.when }), h('td', { class: 'act' }, links));
  return node;
}

function pick(id) {
  chosen = chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id];
  const address = new URL(location.href);
  address.searchParams.set(PARAMETER, chosen.join(','));
  history.replaceState(null, '', address);
  draw();
  tell(true);
}

const tell = (byHand = false) => trigger('pick', { runs: chosen, dark: window.rs.dark, by_hand: byHand });

function header() {
  const cells = COLUMNS.map(([title, , note], i) => {
    const now = sort.column === i ? (sort.down ? 'descending' : 'ascending') : 'none';
    const click = h('button', { type: 'button', text: title });
    if (now !== 'none') click.append(sort.down ? ' ↓' : ' ↑');
    click.onclick = () => { sort = { column: i, down: sort.column === i ? !sort.down : false }; draw(); };
    return h('th', { scope: 'col', 'aria-sort': now }, click, note ? h('small', { text: ` ${note}` }) : null);
  });
  head.replaceChildren(h('tr', {}, h('th', { scope: 'col', 'aria-label': 'Chosen' }), ...cells, h('th', { scope: 'col', 'aria-label': 'Links' })));
}

function sorted(rows) {
  if (sort.column === null) return rows;
  const by = COLUMNS[sort.column][1], sign = sort.down ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [x, y] = [by(a), by(b)];
    if (x === undefined || x === null || y === undefined || y === null) return (x ?? null) === null ? 1 : -1;
    return sign * (typeof x === 'string' ? x.localeCompare(y) : x - y);
  });
}

function draw() {
  const { rows, empty } = data;
  const none = element.querySelector('.rt-empty');
  none.hidden = rows.length > 0 || !loaded;
  element.querySelector('.rs-table-wrap').hidden = !rows.length;
  if (!rows.length) {
    none.querySelector('strong').textContent = empty.title || '';
    none.querySelector('span').textContent = empty.text || '';
    const action = none.querySelector('a');
    action.textContent = empty.action || '';
    action.hidden = !empty.action;
    action.href = empty.href || '/train';
    return;
  }
  element.querySelector('.rt-caption').textContent = data.caption || '';
  header();
  const focused = document.activeElement?.closest?.('tr')?.dataset.run;
  body.replaceChildren(...sorted(rows).map(line));
  if (focused) {
    const again = [...body.children].find((node) => node.dataset.run === focused);
    again?.querySelector('input').focus({ preventScroll: true });
  }
}

async function load() {
  const anew = props.value?.anew, back = Boolean(anew) && anew !== taken;
  if (back) {
    taken = anew;
    const address = new URL(location.href);
    address.searchParams.delete(PARAMETER);
    history.replaceState(null, '', address);
  }
  const asked = new URL(location.href).searchParams.get(PARAMETER) || '';
  const answer = await server.srv_runs({ asked: asked.split(',').filter(Boolean) });
  if (!answer?.ok) return;
  const first = !loaded;
  data = answer;
  loaded = true;
  if (first || back || !chosen.length) chosen = answer.chosen;
  chosen = chosen.filter((id) => data.rows.some((row) => row.id === id && !row.off));
  draw();
  tell();
}

let dark = window.rs.dark;
window.rs.on('rs:theme', () => { if (loaded && dark !== window.rs.dark) { dark = window.rs.dark; tell(); } });
watch('value', load);
load();
