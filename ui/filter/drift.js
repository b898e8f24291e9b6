// Whether the threshold may be carried over to this file: its scores beside the calibration's. value = the threshold panel's;
// the calibration and the verdict come with `rs:calibration` (rs.calibration), which the estimate fetches.
const $ = (selector) => element.querySelector(selector);
const panel = $('.dr'), SIZE = { height: 250, left: 46, right: 12, top: 8, bottom: 40 };
const CURVES = [['file', 'this file'], ['mix', 'nearest mix'], ['harmless', 'calibration, harmless'], ['harmful', 'calibration, harmful']];
let data = null, drawn = 0, counts = null;

const here = () => (rs.calibration && data && rs.calibration.dataset === data.dataset && rs.calibration.key === data.key ? rs.calibration : null);

function plot(held) {
  const { drift } = held.shift, sums = suffixSums(data.bins), host = $('.dr-plot'), width = Math.max(260, host.clientWidth);
  const calibration = [...held.shift.harmful, ...held.shift.harmless].map(([bin, n]) => [bin, n, 0, 0]);
  const [low, high] = axisRange([...data.bins, ...calibration], []);
  const up = { // share of scores in bins up to i
    file: ecdf(sums.rows), harmless: ecdf(held.harmless), harmful: ecdf(held.harmful),
    mix: (i) => drift.share * ecdf(held.harmful)(i) + (1 - drift.share) * ecdf(held.harmless)(i),
  };
  const x = (index) => SIZE.left + ((index - low) / (high - low)) * (width - SIZE.left - SIZE.right);
  const y = (share) => SIZE.height - SIZE.bottom - share * (SIZE.height - SIZE.top - SIZE.bottom);
  const root = svg('svg', { width, height: SIZE.height, role: 'img', 'aria-label': `Distribution of scores of this file and of the calibration prompts; largest gap to the nearest mix ${drift.mix.value.toFixed(3)} at ${drift.mix.at.toFixed(3)}` });
  for (const share of [0, 0.5, 1]) root.append(svg('line', { class: 'dr-grid', x1: x(low), x2: x(high), y1: y(share), y2: y(share) }), svg('text', { class: 'dr-tick', x: SIZE.left - 8, y: y(share) + 4, 'text-anchor': 'end', text: `${100 * share} %` }));
  for (const value of ticks(toValue(low), toValue(high), Math.max(3, Math.floor(width / 90)))) root.append(svg('text', { class: 'dr-tick', x: x(toIndex(value)), y: y(0) + 17, 'text-anchor': 'middle', text: (value < 0 ? '\u2212' : '') + Math.abs(value).toFixed(2) }));
  root.append(svg('text', { class: 'dr-tick', x: width - SIZE.right, y: SIZE.height - 5, 'text-anchor': 'end', text: data.measure }));
  for (const [name] of CURVES.slice().reverse()) root.append(svg('path', { class: `dr-curve dr-${name}`, d: path(up[name], low, high, x, y) }));
  const at = toIndex(drift.mix.at);
  root.append(svg('line', { class: 'dr-gap', x1: x(at), x2: x(at), y1: y(up.file(at)), y2: y(up.mix(at)) }, svg('title', { text: 'largest gap' })));
  host.replaceChildren(root);
  drawn = host.clientWidth;
}

const ecdf = (suffix) => (i) => (suffix[0] ? 1 - suffix[i + 1] / suffix[0] : 0);
function path(share, low, high, x, y) {
  let out = `M${x(low)} ${y(share(low))}`, before = share(low);
  for (let i = low + 1; i <= high; i++) {
    const now = share(i);
    if (now !== before || i === high) out += `H${x(i).toFixed(1)}V${y(now).toFixed(1)}`;
    before = now;
  }
  return out;
}

function write() {
  const held = here();
  $('.dr-body').hidden = !held || !held.shift.drift;
  $('.dr-none').hidden = Boolean(held && held.shift.drift);
  if (!held) { $('.dr-none').textContent = rs.calibration === undefined || rs.calibration ? 'Comparing the file with the calibration prompts\u2026' : 'This teacher has no calibration scores to compare the file with. Prepare it again.'; return; }
  const { drift, verdict, kind, more } = held.shift;
  if (!drift) { $('.dr-none').textContent = 'There are too few scores to compare.'; return; }
  $('.dr-verdict').textContent = verdict;
  $('.dr-verdict').dataset.kind = { shifted: 'flag', small: 'warn' }[kind] || '';
  const rows = [[`nearest mix (${percent(drift.share)} harmful)`, drift.mix], ['labelled harmless rows against harmless prompts', drift.harmless], ['labelled harmful rows against harmful prompts', drift.harmful]];
  $('tbody').replaceChildren(...rows.filter(([, one]) => one).map(([name, one]) => h('tr', {}, h('td', { class: 'text', text: name }), h('td', { class: 'num', text: one.value.toFixed(3) }), h('td', { class: 'num', text: one.chance.toFixed(3) }))));
  $('.dr-more').replaceChildren(...more.map((text) => h('li', { text })));
  $('.dr-legend').replaceChildren(...CURVES.map(([name, title]) => h('span', {}, svg('svg', { width: 26, height: 8 }, svg('path', { class: `dr-curve dr-${name}`, d: 'M0 4H26' })), title)));
  writeLine();
  if (panel.offsetParent !== null) plot(held);
}

// What matters to a threshold is the gap where it lies, however large the curves' largest gap is elsewhere.
function writeLine() {
  const held = here();
  if (!held || !held.shift.drift || !counts || !counts.total) return;
  const { share } = held.shift.drift, at = toIndex(counts.t), rates = [held.harmful, held.harmless].map((sums) => sums[at] / sums[0]);
  $('.dr-line').textContent = `At the line, ${signed(counts.t)}: ${percent(counts.share)} of this file is flagged, and ${percent(share * rates[0] + (1 - share) * rates[1])} of the nearest mix.`;
}

function mark() {
  const held = here(), bad = held && held.shift.drift && ['shifted', 'small'].includes(held.shift.kind) ? held.shift.kind : null;
  rs.emit('rs:panel-mark', { name: 'drift', kind: bad, why: bad ? held.shift.verdict : '' });
}

rs.on('rs:calibration', () => { if (data) { write(); mark(); } });
rs.on('rs:threshold', (event) => {
  if (!data || event.detail.key !== data.key || event.detail.dataset !== data.dataset) return;
  counts = event.detail;
  if (panel.offsetParent !== null) writeLine();
});
rs.on('rs:panel', (event) => { if (data && event.detail.name === 'drift') write(); });
new ResizeObserver(() => { if (data && here() && here().shift.drift && panel.offsetParent !== null && Math.abs($('.dr-plot').clientWidth - drawn) > 1) plot(here()); }).observe(panel);
function draw() {
  data = readJson(props.value, null);
  panel.hidden = !data;
  if (data) { write(); mark(); }
}
watch('value', draw);
draw();
