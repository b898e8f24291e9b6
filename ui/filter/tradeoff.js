// What the threshold trades: ROC and precision-recall curves with the current point on them, and the cheapest threshold for a given
// cost of a miss. value = the threshold panel's; follows `rs:threshold`. A file with few labels gets the curves of the calibration prompts.
const $ = (selector) => element.querySelector(selector);
const panel = $('.tr'), ratio = $('.tr-ratio');
const SIZE = { height: 208, left: 44, right: 10, top: 8, bottom: 34 };
const ENOUGH = 30;
let data = null, sums = null, calibrated = null, points = [], best = null, last = null, widths = [0, 0], dots = [];

const frame = (width) => ({
  x: (share) => SIZE.left + share * (width - SIZE.left - SIZE.right),
  y: (share) => SIZE.height - SIZE.bottom - share * (SIZE.height - SIZE.top - SIZE.bottom),
});

function plot(host, name, horizontal, vertical, path, chance) {
  const width = Math.max(180, host.clientWidth), { x, y } = frame(width);
  const root = svg('svg', { width, height: SIZE.height, role: 'img', 'aria-label': name });
  for (const share of [0, 0.5, 1]) {
    root.append(svg('line', { class: 'th-grid', x1: x(0), x2: x(1), y1: y(share), y2: y(share) }),
      svg('line', { class: 'th-grid', x1: x(share), x2: x(share), y1: y(0), y2: y(1) }),
      svg('text', { class: 'th-tick', x: x(0) - 9, y: y(share) + 4, 'text-anchor': 'end', text: `${100 * share}` }),
      svg('text', { class: 'th-tick', x: x(share), y: y(0) + 15, 'text-anchor': share ? (share === 1 ? 'end' : 'middle') : 'start', text: `${100 * share}` }));
  }
  root.append(svg('text', { class: 'th-tick', x: x(0.5), y: SIZE.height - 3, 'text-anchor': 'middle', text: `${horizontal}, %` }),
    svg('text', { class: 'th-tick', transform: `translate(10 ${y(0.5)}) rotate(-90)`, 'text-anchor': 'middle', text: `${vertical}, %` }),
    svg('path', { class: 'tr-chance', d: `M${x(0)} ${y(chance[0])} L${x(1)} ${y(chance[1])}` }),
    svg('path', { class: 'tr-curve', d: path.map(([a, b], i) => `${i ? 'L' : 'M'}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join('') }));
  const dot = root.appendChild(svg('circle', { class: 'tr-dot', r: 5.5 }));
  host.replaceChildren(root);
  return { dot, x, y };
}

// At most a few hundred points are drawn; the corners that matter are kept because equal counts were merged before.
const thin = (list) => (list.length <= 400 ? list : list.filter((_, i) => i % Math.ceil(list.length / 400) === 0 || i === list.length - 1));

// Precision at a point if `base` of the rows were harmful: the labels' own share, or the estimated one.
const precisionOf = (point, base) => { const hit = base * point.recall, miss = (1 - base) * point.fpr; return hit + miss > 0 ? hit / (hit + miss) : null; };

function drawPlots() {
  const roc = $('.tr-roc .tr-plot'), pr = $('.tr-pr .tr-plot'), shown = thin(points), from = calibrated ? calibrated.sums : sums;
  const base = calibrated ? calibrated.share : from.harmful[0] / (from.harmful[0] + from.harmless[0]);
  const curve = shown.map((p) => [p.recall, precisionOf(p, base)]).filter(([, precision]) => precision !== null);
  widths = [roc.clientWidth, pr.clientWidth];
  dots = [
    plot(roc, 'ROC curve', 'false positives', 'recall', shown.map((p) => [p.fpr, p.recall]), [0, 1]),
    plot(pr, 'Precision-recall curve', 'recall', 'precision', curve, [base, base]),
  ];
  const kind = calibrated ? 'calibration prompts' : 'rows';
  $('.tr-roc figcaption span').textContent = `area ${areaUnderRoc(points).toFixed(3)}, n = ${number(from.harmful[0])} harmful, ${number(from.harmless[0])} harmless ${kind}`;
  $('.tr-pr figcaption span').textContent = `dotted: no skill (${percent(base)}${calibrated ? ', the estimated share' : ''})`;
}

function follow(counts) {
  last = counts;
  if (!dots.length) return;
  const put = ({ dot, x, y }, a, b) => {
    dot.toggleAttribute('hidden', a === null || b === null);
    if (a !== null && b !== null) { dot.setAttribute('cx', x(a)); dot.setAttribute('cy', y(b)); }
  };
  const here = calibrated ? countsAt({ ...calibrated.sums, rows: calibrated.sums.harmful }, toIndex(counts.t)) : counts;
  put(dots[0], here.fpr, here.recall);
  put(dots[1], here.recall, calibrated ? precisionOf(here, calibrated.share) : here.precision);
}

function writeCost() {
  const cost = Math.min(1000, Math.max(0.1, Number(ratio.value) || 1));
  best = cheapest(sums, cost);
  const there = countsAt(sums, best.index);
  $('.tr-cost').textContent = `Cheapest on this file: ${signed(toValue(best.index))}, with ${number(there.fn)} missed and ${number(there.fp)} removed wrongly. It is fitted to these labels, so expect a little worse on other data.`;
}

const withheld = () => (rs.estimate && rs.estimate.dataset === data.dataset && rs.estimate.key === data.key ? rs.estimate.withheld : null);

// Counts of the calibration, and the estimated share of harmful rows; null where the calibration says nothing of this file.
function ofCalibration() {
  const held = rs.calibration, found = rs.estimate;
  if (!held || held.dataset !== data.dataset || held.key !== data.key || !found || found.withheld || !found.rate) return null;
  return { sums: { harmful: held.harmful, harmless: held.harmless }, share: Math.min(0.99, Math.max(0.001, found.rate.value)) };
}

function draw() {
  const before = data && `${data.dataset} ${data.key}`;
  data = readJson(props.value, null);
  sums = data && suffixSums(data.bins);
  panel.hidden = !data;
  if (panel.hidden) return;
  const few = Math.min(sums.harmful[0], sums.harmless[0]) < ENOUGH;
  calibrated = few ? ofCalibration() : null;
  $('.tr-few').hidden = !few;
  $('.tr-body').hidden = few && !calibrated;
  $('.tr-dials').hidden = few;
  const held = `this file has ${number(sums.harmful[0])} harmful and ${number(sums.harmless[0])} harmless ones.`;
  $('.tr-few').textContent = `Recall and precision need at least ${ENOUGH} labelled rows of each kind; ${held}${calibrated ? ' These are the curves of the teacher\u2019s calibration prompts: they hold here only if this file scores like them.' : withheld() ? ` ${withheld().why}` : ''}`;
  if (few && !calibrated) return;
  points = curvePoints(calibrated ? calibrated.sums : sums);
  drawPlots();
  if (!few) writeCost();
  const t = last && before === `${data.dataset} ${data.key}` ? last.t : data.threshold ?? data.calibrated ?? 0;
  follow({ t, ...countsAt(sums, toIndex(t)) });
}

ratio.addEventListener('input', writeCost);
$('.tr-go').addEventListener('click', () => rs.emit('rs:move-threshold', { t: toValue(best.index) }));
rs.on('rs:threshold', (event) => { if (data && event.detail.key === data.key) follow(event.detail); });
new ResizeObserver(() => {
  if (panel.hidden || !points.length || $('.tr-body').hidden || $('.tr-roc .tr-plot').clientWidth === widths[0]) return;
  drawPlots();
  if (last) follow(last);
}).observe(panel);
rs.on('rs:calibration', () => { if (data && Math.min(sums.harmful[0], sums.harmless[0]) < ENOUGH) draw(); });
watch('value', draw);
draw();
