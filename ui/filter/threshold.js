// The threshold panel. Python sends counts per 0.001 of score once; everything else happens here, at any threshold, without a call.
// value = JSON of {bins, threshold, calibrated, reviewed: [[bin, action], …], note, blind}; events: "use" {t}. Others hear `rs:threshold`.
// Dragging moves the line; a click on a bar asks the row list for its range (`rs:filter`), with Shift up to another bar.
const STEP = 10, PAGE = 100, HEIGHT = 250, BARS = 60;
const PAD = { left: 46, right: 14, top: 22, bottom: 46 };
const $ = (selector) => element.querySelector(selector);
const panel = $('.th'), chart = $('.th-chart'), tip = $('.th-tip'), entry = $('.th-number');
const uid = `th${Math.random().toString(36).slice(2, 8)}`;
let data = null, sums = null, at = 1000, low = 0, high = GRID - 1, drawn = [], parts = {}, width = 0, logCounts = false, spoken = 0, byRule = null;
let range = null, press = null, addressed = 0;

const x = (index) => PAD.left + ((index - low) / (high - low)) * (width - PAD.left - PAD.right);
const floor = () => HEIGHT - PAD.bottom;

function hatch(id, colour, turn) {
  return svg('pattern', { id, width: 5, height: 5, patternUnits: 'userSpaceOnUse', patternTransform: `rotate(${turn})` },
    svg('rect', { width: 5, height: 5, style: `fill:${colour};opacity:.85` }),
    svg('line', { x1: 0, y1: 0, x2: 0, y2: 5, style: 'stroke:var(--rs-card, #fff);stroke-width:1.6;opacity:.55' }));
}

const KINDS = [
  { key: 'harmful', label: 'known harmful', colour: 'var(--rs-flag, #d55e00)', turn: 45 },
  { key: 'harmless', label: 'known harmless', colour: 'var(--rs-keep, #009e73)', turn: -45 },
  { key: 'unknown', label: 'not labelled', colour: 'var(--rs-base, #999)', turn: null },
];

function levels(most) {
  const size = Math.pow(10, Math.floor(Math.log10(Math.max(most, 1))));
  if (logCounts) return [1, 10, 100, 1000, 1e4, 1e5, 1e6, 1e7].filter((n) => n <= most * 1.2);
  const step = [0.2, 0.5, 1, 2].map((k) => k * size).find((s) => most / s <= 4) || size * 5;
  return [1, 2, 3, 4, 5].map((k) => k * step).filter((n) => n <= most * 1.05 && Number.isInteger(n));
}

// The bars, axes and marks: only on new data, a new width or another scale.
function drawChart() {
  width = Math.max(320, chart.clientWidth);
  drawn = bars(data.bins, low, high, BARS);
  const most = Math.max(1, ...drawn.map((bar) => bar.rows));
  const share = (n) => (logCounts ? Math.log1p(n) / Math.log1p(most) : n / most);
  const y = (n) => floor() - share(n) * (floor() - PAD.top);
  const root = svg('svg', { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: 'group', 'aria-label': 'Histogram of scores with the threshold' });
  root.append(svg('defs', {}, ...KINDS.filter((kind) => kind.turn !== null).map((kind) => hatch(`${uid}-${kind.key}`, kind.colour, kind.turn))));
  for (const level of levels(most)) {
    root.append(svg('line', { class: 'th-grid', x1: PAD.left, x2: width - PAD.right, y1: y(level), y2: y(level) }),
      svg('text', { class: 'th-tick', x: PAD.left - 6, y: y(level) + 4, 'text-anchor': 'end', text: number(level) }));
  }
  parts.range = root.appendChild(svg('rect', { class: 'th-range', y: PAD.top, height: floor() - PAD.top }));
  parts.shade = root.appendChild(svg('rect', { class: 'th-shade', y: PAD.top, height: floor() - PAD.top }));
  for (const bar of drawn) {
    bar.unknown = bar.rows - bar.harmful - bar.harmless;
    let below = 0;
    for (const kind of KINDS.slice().reverse()) {
      const n = bar[kind.key];
      if (!n) continue;
      // A stack of logarithms would lie about the parts: on that scale the height is the total and the colours its shares.
      const place = (m) => (logCounts ? floor() - (m / bar.rows) * (floor() - y(bar.rows)) : y(m));
      const top = place(below + n), bottom = place(below);
      below += n;
      root.append(svg('rect', { x: x(bar.from) + 0.5, width: Math.max(1, x(bar.to) - x(bar.from) - 1), y: Math.min(top, bottom - 1), height: Math.max(1, bottom - top),
        style: `fill:${kind.turn === null ? kind.colour : `url(#${uid}-${kind.key})`}` }));
    }
  }
  drawAxis(root);
  drawMarks(root);
  drawLine(root);
  const held = parts.held && document.activeElement === parts.held;
  chart.querySelector('svg')?.remove();
  chart.prepend(root);
  parts.held = parts.handle;
  if (held) parts.handle.focus({ preventScroll: true }); // new bars must not take the line out of somebody's hand
  markRange();
  place();
}

function markRange() {
  const from = range ? Math.max(low, range.from) : low, to = range ? Math.min(high + 1, range.to) : low;
  parts.range.setAttribute('x', x(from));
  parts.range.setAttribute('width', Math.max(0, x(to) - x(from)));
  $('.th-chosen').hidden = !range;
  if (range) $('.th-chosen span').textContent = `Rows from ${signed(toValue(range.from))} to ${signed(toValue(range.to - 1))} are listed below`;
}

// The rows of one bar, or of none; with `extend` of all bars from the chosen ones up to it.
function chooseBar(bar, extend) {
  if (!bar || !bar.rows) return;
  const same = range && range.from === bar.from && range.to === bar.to;
  if (extend && range) range = { from: Math.min(range.from, bar.from), to: Math.max(range.to, bar.to) };
  else range = same ? null : { from: bar.from, to: bar.to };
  askRange();
}
function askRange() {
  markRange();
  rs.emit('rs:filter', range ? { low: toValue(range.from), high: toValue(Math.min(GRID, range.to) - 1) } : { low: null, high: null });
}

function drawAxis(root) {
  root.append(svg('line', { class: 'th-axis', x1: PAD.left, x2: width - PAD.right, y1: floor(), y2: floor() }));
  for (const value of ticks(toValue(low), toValue(high), Math.max(3, Math.floor(width / 90)))) {
    root.append(svg('line', { class: 'th-axis', x1: x(toIndex(value)), x2: x(toIndex(value)), y1: floor(), y2: floor() + 4 }),
      svg('text', { class: 'th-tick', x: x(toIndex(value)), y: floor() + 29, 'text-anchor': 'middle', text: (value < 0 ? '\u2212' : '') + Math.abs(value).toFixed(2) }));
  }
  root.append(svg('text', { class: 'th-name', x: width - PAD.right, y: HEIGHT - 2, 'text-anchor': 'end', text: `${data.measure}; higher looks more harmful` }));
}

// The calibrated threshold, the threshold in use, and a tick where a person has decided a row.
function drawMarks(root) {
  for (const [bin, action] of data.reviewed || []) {
    root.append(svg('line', { class: `th-rug th-rug-${action === 'remove' ? 'remove' : action === 'keep' ? 'keep' : 'other'}`, x1: x(bin), x2: x(bin),
      y1: floor() + (action === 'remove' ? 1 : 6), y2: floor() + (action === 'remove' ? 9 : 14) }));
  }
  if (data.calibrated !== null) root.append(svg('line', { class: 'th-mark', x1: x(toIndex(data.calibrated)), x2: x(toIndex(data.calibrated)), y1: PAD.top - 4, y2: floor() },
    svg('title', { text: `calibrated threshold ${signed(data.calibrated)}` })));
}

function drawLine(root) {
  parts.kept = svg('text', { class: 'th-flank', y: PAD.top - 8, 'text-anchor': 'end', text: '\u2190 kept' });
  parts.flagged = svg('text', { class: 'th-flank th-flank-flag', y: PAD.top - 8, text: 'flagged \u2192' });
  parts.line = svg('line', { class: 'th-line', y1: PAD.top - 16, y2: floor() + 2 });
  parts.handle = svg('g', { class: 'th-handle', role: 'slider', tabindex: 0, 'aria-label': 'Threshold', 'aria-orientation': 'horizontal', 'aria-valuemin': -1, 'aria-valuemax': 1 },
    svg('rect', { x: -13, y: floor() - 20, width: 26, height: 40, style: 'fill:transparent' }),
    svg('path', { d: `M0 ${floor()} l8 9 v7 h-16 v-7 z` }));
  root.append(parts.kept, parts.flagged, parts.line, parts.handle);
  parts.handle.addEventListener('keydown', onSliderKey);
}

// Moves the line and rewrites the numbers: no bar is touched, so this takes well under a frame.
function place() {
  const position = x(Math.min(high, Math.max(low, at)));
  parts.line.setAttribute('x1', position);
  parts.line.setAttribute('x2', position);
  parts.handle.setAttribute('transform', `translate(${position} 0)`);
  parts.shade.setAttribute('x', position);
  parts.shade.setAttribute('width', Math.max(0, width - PAD.right - position));
  parts.kept.setAttribute('x', position - 8);
  parts.flagged.setAttribute('x', position + 8);
  // At an edge there is no room for the word on that side: it would run into what stands beside the chart.
  parts.kept.style.display = position < PAD.left + 40 ? 'none' : '';
  parts.flagged.style.display = position > width - 62 ? 'none' : '';
  const counts = countsAt(sums, at);
  parts.handle.setAttribute('aria-valuenow', toValue(at));
  parts.handle.setAttribute('aria-valuetext', `${toValue(at)}: ${counts.flagged} of ${counts.total} rows flagged`);
  if (document.activeElement !== entry) entry.value = toValue(at).toFixed(3);
  write(counts);
}

const text = (selector, value) => { $(selector).textContent = value; };
const between = (interval) => (interval ? span(interval) : 'nothing to count');

function write(counts) {
  text('.th-flagged b', number(counts.flagged));
  text('.th-flagged span', counts.total ? `flagged, ${percent(counts.share)}\n(${between(wilson(counts.flagged, counts.total))})` : 'flagged');
  text('.th-kept b', number(counts.kept));
  text('.th-kept span', `kept of ${number(counts.total)}`);
  for (const cell of ['tp', 'fp', 'fn', 'tn']) text(`.th-${cell}`, number(counts[cell]));
  if (counts.labelled) writeRates(counts);
  writeEstimate();
  const current = data.threshold !== null && at === toIndex(data.threshold);
  $('.th-use').disabled = current;
  $('.th-use').textContent = current ? 'In use' : 'Use this threshold';
  $('.th-saved').hidden = current || data.threshold === null;
  clearTimeout(spoken); // screen readers hear the result of a move, not every step of it
  $('.th-sentence').setAttribute('aria-live', 'off');
  text('.th-sentence', [sentence(counts), data.note].filter(Boolean).join(' '));
  text('.th-blind', data.blind);
  spoken = setTimeout(() => $('.th-sentence').setAttribute('aria-live', 'polite'), 600);
}

function writeRates(counts) {
  const rates = [
    ['Recall', 'share of the harmful rows that is flagged; higher is better', counts.recall, counts.tp, counts.tp + counts.fn],
    ['Precision', 'share of the flagged rows that is harmful; higher is better', counts.precision, counts.tp, counts.tp + counts.fp],
    ['False positives', 'share of the harmless rows that is flagged; lower is better', counts.fpr, counts.fp, counts.fp + counts.tn],
  ];
  const cells = $('.th-rates');
  if (!cells.children.length) for (const [name, meaning] of rates) cells.append(h('div', { title: meaning }, h('dt', { text: name }), h('dd', {}, h('b'), h('span'))));
  rates.forEach(([, , share, k, n], i) => {
    const interval = wilson(k, n), cell = cells.children[i].lastChild;
    cell.firstChild.textContent = percent(share);
    cell.lastChild.textContent = between(interval);
  });
}

// The share of harmful rows: one for the file, whatever the line. Where the labels say it, it needs no estimate; the tab says the rest.
function writeEstimate() {
  const held = rs.estimate, here = held && held.dataset === data.dataset && held.key === data.key && held.by !== 'labels';
  $('.th-estimate').hidden = !here;
  if (here) text('.th-estimate b', held.rate ? percent(held.rate.value) : 'withheld');
  if (here) text('.th-estimate dd span', held.rate ? between([held.rate.low, held.rate.high]) : 'see Estimate');
}

const announce = () => rs.emit('rs:threshold', { t: toValue(at), dataset: data.dataset, key: data.key, ...countsAt(sums, at) });
let frame = 0;
function move(index) {
  at = Math.min(GRID - 1, Math.max(0, Math.round(index)));
  say('');
  place();
  if (!frame) frame = requestAnimationFrame(() => { frame = 0; announce(); });
  clearTimeout(addressed);
  addressed = setTimeout(() => putUrl({ t: at === toIndex(data.threshold) ? null : toValue(at).toFixed(3) }), 250);
}

function onSliderKey(event) {
  const fine = event.shiftKey ? 1 : STEP;
  const jump = { ArrowLeft: -fine, ArrowDown: -fine, ArrowRight: fine, ArrowUp: fine, PageDown: -PAGE, PageUp: PAGE }[event.key];
  if (jump) move(at + jump);
  else if (event.key === 'Home') move(low);
  else if (event.key === 'End') move(high);
  else if (event.key === 'Enter') chooseBar(barAt(at), event.shiftKey);
  else return;
  event.preventDefault();
}

const byKey = (jump) => () => { if (data && element.isConnected) move(at + jump); };
rs.key('[', 'Threshold 0.01 lower', byKey(-STEP));
rs.key(']', 'Threshold 0.01 higher', byKey(STEP));
rs.key('{', 'Threshold 0.001 lower', byKey(-1));
rs.key('}', 'Threshold 0.001 higher', byKey(1));

const indexUnder = (event) => low + ((event.clientX - chart.getBoundingClientRect().left - PAD.left) / (width - PAD.left - PAD.right)) * (high - low);

const barAt = (index) => drawn.find((one) => index >= one.from && index < one.to);
const barUnder = (event) => barAt(indexUnder(event));

chart.addEventListener('pointerdown', (event) => {
  if (!data || event.button !== 0) return;
  chart.setPointerCapture(event.pointerId);
  press = { x: event.clientX, bar: barUnder(event) };
  tip.hidden = true;
  parts.handle.focus({ preventScroll: true });
  event.preventDefault();
});
chart.addEventListener('pointermove', (event) => {
  if (!data) return;
  if (press && Math.abs(event.clientX - press.x) > 3) chart.dataset.drag = '1';
  if (press) { if (chart.dataset.drag) move(indexUnder(event)); return; }
  const bar = barUnder(event);
  tip.hidden = !bar || !bar.rows;
  if (tip.hidden) return;
  const known = KINDS.filter((kind) => bar[kind.key]).map((kind) => `${number(bar[kind.key])} ${kind.label}`).join(', ');
  tip.textContent = `${signed(toValue(bar.from))} to ${signed(toValue(bar.to))}: ${number(bar.rows)} ${bar.rows === 1 ? 'row' : 'rows'} (${known})`;
  tip.style.left = `${Math.min(width - tip.offsetWidth - 4, Math.max(4, x(bar.from) - tip.offsetWidth / 2))}px`;
});
chart.addEventListener('pointerup', (event) => { if (press && !chart.dataset.drag) chooseBar(press.bar, event.shiftKey); });
for (const name of ['pointerup', 'pointercancel']) chart.addEventListener(name, () => { press = null; delete chart.dataset.drag; });
chart.addEventListener('pointerleave', () => { tip.hidden = true; });
const valid = () => entry.value !== '' && Number(entry.value) >= -1 && Number(entry.value) <= 1;
entry.addEventListener('input', () => { if (valid()) move(toIndex(Number(entry.value))); });
entry.addEventListener('change', () => {
  if (!valid()) say(`A threshold lies between \u22121 and 1; ${entry.value === '' ? 'nothing' : `\u201c${entry.value}\u201d`} was typed. The line stays at ${signed(toValue(at))}.`);
  entry.value = toValue(at).toFixed(3);
});
function say(problem) { $('.th-problem').hidden = !problem; text('.th-problem', problem); }
element.querySelectorAll('.th-step').forEach((button) => button.addEventListener('click', (event) => move(at + Number(button.dataset.step) / (event.shiftKey ? STEP : 1))));
$('.th-chosen button').addEventListener('click', () => { range = null; askRange(); });
$('.th-saved').addEventListener('click', () => move(toIndex(data.threshold)));
// The rule goes with the threshold that it found, and with no other.
$('.th-use').addEventListener('click', () => trigger('use', { t: toValue(at), dataset: data.dataset, key: data.key, rule: byRule && byRule.at === at ? byRule.rule : null }));
$('.th-log input').addEventListener('change', (event) => { logCounts = event.target.checked; drawChart(); });
rs.on('rs:threshold-wanted', () => { if (data) announce(); });
rs.on('rs:move-threshold', (event) => {
  if (!data) return;
  byRule = event.detail.rule ? { at: toIndex(event.detail.t), rule: event.detail.rule } : byRule;
  move(toIndex(event.detail.t));
});
rs.on('rs:calibration', () => { if (data) writeEstimate(); });
rs.on('rs:filtered', (event) => {
  const { low: from, high: to } = event.detail.filter;
  range = from === null || from === undefined || to === null || to === undefined ? null : { from: toIndex(from), to: toIndex(to) + 1 };
  if (data && parts.range) markRange();
});
new ResizeObserver(() => { if (data && !panel.hidden && Math.abs(chart.clientWidth - width) > 1) drawChart(); }).observe(chart);

function draw() {
  const before = data && `${data.dataset} ${data.key}`, untouched = data && data.threshold !== null && at === toIndex(data.threshold);
  data = readJson(props.value, null);
  element.closest('.block').hidden = panel.hidden = !data;
  if (!data) return;
  sums = suffixSums(data.bins);
  [low, high] = axisRange(data.bins, [data.threshold, data.calibrated].filter((value) => value !== null));
  if (before !== `${data.dataset} ${data.key}`) {
    const linked = before === null && getUrl('t') !== null ? Number(getUrl('t')) : NaN; // only when the page opens: another file has another line
    at = toIndex(linked >= -1 && linked <= 1 ? linked : data.threshold ?? data.calibrated ?? 0);
    byRule = null;
    if (before !== null) range = null;
    say('');
  } else if (untouched && data.threshold !== null) {
    at = toIndex(data.threshold); // moved in another tab, and not here
  }
  const counts = countsAt(sums, at), known = counts.labelled;
  const shown = KINDS.filter((kind) => (kind.key === 'unknown' ? sums.rows[0] > known : sums[kind.key][0] > 0));
  $('.th-legend').replaceChildren(...shown.map((kind) => h('span', { class: `th-chip th-chip-${kind.key}`, text: kind.label })));
  $('.th-table').hidden = $('.th-rates').hidden = !known;
  $('.th-unlabelled').hidden = Boolean(known);
  $('.th-unlabelled').textContent = data.unlabelled || 'Recall and precision need rows whose truth is known; this file has none.';
  if (data.threshold !== null) $('.th-saved').textContent = `In use ${signed(toValue(toIndex(data.threshold)))}`;
  drawChart();
  announce();
}
watch('value', draw);
draw();
