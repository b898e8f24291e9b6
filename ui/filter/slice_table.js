// Rows flagged in each slice of a facet, live with the line: counts come once for a facet, the rest happens here.
// value = JSON of {dataset, key, threshold, facets: [[name, title], …]}; server: srv_slices. A click on a slice narrows the row list.
const panel = element.querySelector('.sl'), head = element.querySelector('thead'), body = element.querySelector('tbody'), pills = element.querySelector('.rs-pills');
const FEW = 20;
let data = null, sliced = null, at = 1000, facet = null, lines = [], chosen = null;

function shareCell(kind) {
  const fill = h('i'), whisker = h('b'), said = h('span');
  return { cell: h('td', {}, h('div', { class: `sl-share ${kind}` }, h('div', { class: 'sl-bar' }, fill, whisker), said)), fill, whisker, said };
}

function writeShare(to, k, n) {
  const interval = wilson(k, n);
  to.fill.style.width = interval ? `${(100 * k) / n}%` : '0';
  to.whisker.style.left = interval ? `${100 * interval[0]}%` : '0';
  to.whisker.style.width = interval ? `${100 * (interval[1] - interval[0])}%` : '0';
  to.said.textContent = interval ? `${percent(k / n)} (${span(interval)})` : 'none known';
}

function line(slice, labelled) {
  const one = { slice, sums: suffixSums(slice.bins), flagged: h('td', { class: 'num' }), share: shareCell(''), rate: shareCell('sl-false'), wrong: h('td', { class: 'num' }) };
  const name = slice.labels > 1 ? h('span', { class: 'rs-muted', text: `${number(slice.labels)} other labels` })
    : h('button', { type: 'button', class: 'sl-name', text: slice.text, title: 'Show these rows in the list', onclick: () => choose(slice.label) });
  one.row = h('tr', { 'aria-selected': 'false' }, h('td', { class: 'text' }, name), h('td', { class: 'num', text: number(slice.rows) }), one.flagged, one.share.cell);
  if (labelled) one.row.append(one.rate.cell, one.wrong);
  return one;
}

function write() {
  let few = 0;
  for (const one of lines) {
    const counts = countsAt(one.sums, at);
    one.flagged.textContent = number(counts.flagged);
    writeShare(one.share, counts.flagged, counts.total);
    writeShare(one.rate, counts.fp, counts.fp + counts.tn);
    one.wrong.textContent = counts.fp + counts.tn ? `${number(counts.fp)} of ${number(counts.fp + counts.tn)}` : '';
    few += counts.total < FEW;
  }
  const missing = sliced.slices.reduce((sum, one) => sum + one.rows - (one.bins.reduce((n, bin) => n + bin[1], 0)), 0);
  const parts = ['Intervals: Wilson, 95 %, each slice by itself: among many slices a few stand out by chance.'];
  if (few) parts.push(`${number(few)} ${few === 1 ? 'slice has' : 'slices have'} fewer than ${FEW} scored rows: too few to judge.`);
  if (missing) parts.push(`Shares are of scored rows; ${number(missing)} ${missing === 1 ? 'row has' : 'rows have'} no score.`);
  element.querySelector('.sl-note').textContent = parts.join(' ');
}

function choose(label) {
  chosen = chosen === label ? null : label;
  mark();
  listRows({ facet: [facet, chosen] });
}
const mark = () => { for (const one of lines) one.row.setAttribute('aria-selected', String(one.slice.label === chosen)); };

function drawTable(reply) {
  sliced = reply;
  const labelled = reply.slices.some((one) => one.bins.some((bin) => bin[3] > 0));
  const titles = [['text', reply.title], ['num', 'Rows'], ['num', 'Flagged'], ['', 'Share flagged']];
  if (labelled) titles.push(['', 'False-positive rate'], ['num', 'Harmless removed']);
  head.replaceChildren(h('tr', {}, ...titles.map(([kind, text]) => h('th', { scope: 'col', class: kind, text }))));
  element.querySelector('.sl-hint').textContent = labelled
    ? 'A false-positive rate far above the others is a slice the filter misreads: harmless rows of it would be lost. Click a slice to list its rows.'
    : 'A share far above the others is a slice the filter may be misreading. Click a slice to list its rows.';
  lines = reply.slices.map((slice) => line(slice, labelled));
  body.replaceChildren(...lines.map((one) => one.row));
  write();
  mark();
}

const load = lastWins(async (name) => {
  const asked = data;
  const reply = await server.srv_slices({ dataset: asked.dataset, key: asked.key, facet: name });
  if (asked !== data || name !== facet) return;
  if (reply && reply.ok) { drawTable(reply); return; }
  sliced = null;
  lines = [];
  body.replaceChildren();
  element.querySelector('.sl-note').textContent = (reply && reply.error) || 'The slices could not be counted. Is the app still running?';
});

function pick(name) {
  facet = name;
  chosen = null;
  for (const pill of pills.children) pill.setAttribute('aria-pressed', String(pill.dataset.name === name));
  putUrl({ facet: name === data.facets[0][0] ? null : name });
  load(name);
}

rs.on('rs:threshold', (event) => {
  if (!data || event.detail.key !== data.key || event.detail.dataset !== data.dataset) return;
  at = toIndex(event.detail.t);
  if (sliced && panel.offsetParent !== null) write();
});
rs.on('rs:panel', () => { if (sliced) write(); });
rs.on('rs:filtered', (event) => {
  const found = (event.detail.filter.facets || []).find(([name]) => name === facet);
  chosen = found ? found[1] : null;
  mark();
});
function draw() {
  const before = data && `${data.dataset} ${data.key}`;
  data = readJson(props.value, null);
  panel.hidden = !data;
  if (!data || before === `${data.dataset} ${data.key}`) return;
  at = toIndex(data.threshold);
  pills.replaceChildren(...data.facets.map(([name, title]) => h('button', { type: 'button', class: 'rs-pill', 'data-name': name, text: title, onclick: () => pick(name) })));
  const wanted = getUrl('facet');
  pick(data.facets.some(([name]) => name === wanted) ? wanted : data.facets[0][0]);
}
watch('value', draw);
draw();
