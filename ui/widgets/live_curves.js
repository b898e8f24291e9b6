// Training curves on canvas. Only new points travel: the widget asks for what came after the offset it holds.
// dom.js and curve_math.js come first. value = {run, empty}: a run or job, or 'live' for whatever runs now (else the newest run).
const LIVE_MS = 1000, IDLE_MS = 3000, WEIGHT = 0.6;
const PLOTS = [
  { key: 'loss', title: 'Loss per step', series: ['task', 'alignment'], fallback: ['loss'], logs: true },
  { key: 'cosine', title: 'Cosine between the task and the alignment gradient (below 0: they conflict)', series: ['grad_cosine'], range: [-1, 1], zero: true, wide: true },
  { key: 'lr', title: 'Learning rate', series: ['lr'], raw: true },
  { key: 'norm', title: 'Gradient norm', series: ['grad_norm'] },
];
const NAMES = { loss: 'Loss', task: 'Task loss', alignment: 'Alignment loss', lr: 'Learning rate', grad_norm: 'Gradient norm', grad_cosine: 'Gradient cosine', tokens_per_second: 'Tokens/s', memory_mb: 'Peak memory, MB' };
const COLOURS = { loss: '--rs-ink', task: '--rs-sft', alignment: '--rs-teacher', lr: '--rs-accent', grad_norm: '--rs-accent', grad_cosine: '--rs-accent' };
const DASHED = new Set(['alignment']), WHOLE = new Set(['tokens_per_second', 'memory_mb']);
const COLUMNS = ['step', 'steps', ...Object.keys(NAMES)];
const $ = (name) => element.querySelector(`.lc-${name}`);
let heard = false; // the first answer says whether there is anything to draw
let data = empty(), offset = 0, wanted = null, subject = null, live = false, hover = null, timer = null, frame = 0, busy = false;

function empty() { return Object.fromEntries(COLUMNS.map((name) => [name, []])); }
const has = (name) => data[name].some((value) => value !== null);
const colour = (name) => getComputedStyle(element).getPropertyValue(name).trim() || '#888';

// ---- data
async function load() {
  clearTimeout(timer);
  if (!wanted || busy) return;
  const asked = wanted;
  busy = true;
  try {
    const answer = document.hidden ? null : await server.srv_curves({ run: asked, subject, offset });
    if (answer?.ok && asked === wanted) show(answer);
  } finally {
    busy = false;
    if (asked !== wanted) load();
    else if (live || document.hidden || wanted === 'live') timer = setTimeout(load, live ? LIVE_MS : IDLE_MS);
  }
}

function show(answer) {
  heard = true;
  if (answer.subject !== subject) { data = empty(); hover = null; }
  ({ subject, offset, live } = answer);
  $('title').textContent = answer.title;
  $('state').textContent = answer.state;
  $('state').hidden = !answer.state;
  $('state').dataset.kind = live ? 'accent' : '';
  take(answer.points);
  draw();
}

// Adds points; when the steps begin anew (a job that trains several runs, or one tried again) the curves do too.
function take(points) {
  points.step.forEach((step, i) => {
    if (data.step.length && step <= data.step.at(-1)) data = empty();
    for (const name of COLUMNS) data[name].push(points[name][i]);
  });
}

function choose() {
  const next = props.value?.run || null;
  if (next === wanted) return;
  wanted = next;
  $('follow').hidden = wanted === 'live' || !wanted;
  load();
}

$('follow').onclick = () => { wanted = 'live'; $('follow').hidden = true; load(); };

// ---- drawing
const figures = PLOTS.map((plot) => {
  const canvas = h('canvas', { role: 'img', tabindex: '0' });
  const figure = h('figure', {}, h('figcaption', { text: plot.title }), canvas);
  if (plot.wide) figure.dataset.wide = '';
  $('plots').append(figure);
  canvas.addEventListener('pointermove', (event) => { const box = canvas.getBoundingClientRect(); point(canvas, event.clientX - box.left); });
  canvas.addEventListener('pointerleave', () => { hover = null; draw(); });
  canvas.addEventListener('keydown', (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move || !data.step.length) return;
    event.preventDefault();
    hover = Math.max(0, Math.min(data.step.length - 1, (hover ?? data.step.length - 1) + move));
    draw();
  });
  return { plot, canvas, figure };
});

const LEFT = 44, RIGHT = 8, TOP = 6, BOTTOM = 18;
const span = () => [data.step[0] ?? 0, Math.max(data.steps.at(-1) || 0, data.step.at(-1) ?? 1)];

function point(canvas, x) {
  if (!data.step.length) return;
  const [first, last] = span();
  hover = nearest(data.step, first + (x - LEFT) / (canvas.clientWidth - LEFT - RIGHT) * (last - first || 1));
  draw();
}

function draw() { cancelAnimationFrame(frame); frame = requestAnimationFrame(paint); }

function paint() {
  const none = !data.step.length;
  $('empty').hidden = !none || (Boolean(wanted) && !heard);
  $('plots').hidden = $('now').hidden = none;
  element.querySelector('.lc-tools').hidden = none;
  $('empty').textContent = subject ? 'No step has been logged yet. Curves appear with the first step.' : props.value?.empty || '';
  $('head').hidden = !subject;
  if (none) return;
  now();
  for (const { plot, canvas, figure } of figures) {
    let shown = plot.series.filter(has);
    if (!shown.length) shown = (plot.fallback || []).filter(has);
    figure.hidden = !shown.length;
    if (shown.length) chart(plot, canvas, shown);
  }
}

function now() {
  const at = hover ?? data.step.length - 1;
  const shown = ['task', 'alignment', 'loss', 'grad_cosine', 'grad_norm', 'lr', 'tokens_per_second', 'memory_mb'].filter(has);
  const total = data.steps.at(-1);
  const items = [h('div', {}, h('dt', { text: 'Step' }), h('dd', { text: total ? `${data.step[at]} of ${total}` : String(data.step[at]) }))];
  for (const name of shown) {
    const swatch = h('i', { 'data-dash': DASHED.has(name) });
    swatch.style.color = colour(COLOURS[name] || '--rs-muted');
    items.push(h('div', {}, h('dt', {}, COLOURS[name] && name !== 'loss' ? swatch : null, NAMES[name]), h('dd', { text: WHOLE.has(name) ? Math.round(data[name][at] ?? 0).toLocaleString('en-GB') : brief(data[name][at]) })));
  }
  $('now').replaceChildren(...items);
}

function chart(plot, canvas, shown) {
  const width = canvas.clientWidth, height = canvas.clientHeight, ratio = window.devicePixelRatio || 1;
  if (!width) return;
  if (canvas.width !== Math.round(width * ratio)) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); }
  const pen = canvas.getContext('2d');
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const log = plot.logs && $('log').checked;
  const range = plot.range || extent(shown.map((name) => data[name]), log);
  if (!range) return;
  let [low, high] = range;
  if (!plot.range && !log) { const pad = (high - low || Math.abs(high) || 1) * 0.06; low = low >= 0 ? Math.max(0, low - pad) : low - pad; high += pad; }
  if (log && high === low) { low /= 1.5; high *= 1.5; }
  const [first, last] = span();
  const scale = (value) => (log ? Math.log(value) : value);
  const x = (step) => LEFT + (width - LEFT - RIGHT) * (step - first) / (last - first || 1);
  const y = (value) => height - BOTTOM - (height - TOP - BOTTOM) * (scale(value) - scale(low)) / (scale(high) - scale(low) || 1);
  grid(pen, { width, height, x, y, first, last }, log ? logTicks(low, high) : ticks(low, high, height > 160 ? 5 : 3));
  if (plot.zero) zone(pen, y, width);
  for (const name of shown) {
    const stroke = colour(COLOURS[name]);
    const raw = data[name];
    const smooth = $('smooth').checked && !plot.raw && raw.length > 4;
    line(pen, raw, x, y, { stroke, alpha: smooth ? 0.25 : 1, dash: !smooth && DASHED.has(name), log });
    if (smooth) line(pen, smoothed(raw, WEIGHT), x, y, { stroke, alpha: 1, thick: true, dash: DASHED.has(name), log });
  }
  if (hover !== null && hover < data.step.length) cross(pen, shown, x, y, height);
  canvas.setAttribute('aria-label', `${plot.title}. ${shown.map((name) => `${NAMES[name]} now ${brief(data[name].at(-1))}`).join(', ')}. Left and right arrows read single steps.`);
}

function grid(pen, place, values) {
  pen.font = '11px system-ui, sans-serif';
  pen.fillStyle = colour('--rs-muted');
  pen.strokeStyle = colour('--rs-line');
  pen.lineWidth = 1;
  pen.textAlign = 'right';
  pen.textBaseline = 'middle';
  for (const value of values) {
    const at = Math.round(place.y(value)) + 0.5;
    pen.beginPath(); pen.moveTo(LEFT, at); pen.lineTo(place.width - RIGHT, at); pen.stroke();
    pen.fillText(brief(value), LEFT - 6, at);
  }
  pen.textBaseline = 'top';
  for (const step of ticks(place.first, place.last, place.width > 400 ? 6 : 3).filter(Number.isInteger)) {
    pen.textAlign = place.x(step) > place.width - 24 ? 'right' : 'center';
    pen.fillText(step.toLocaleString('en-GB'), Math.min(place.x(step), place.width - RIGHT), place.height - BOTTOM + 5);
  }
}

function zone(pen, y, width) {
  pen.fillStyle = colour('--rs-flag');
  pen.globalAlpha = 0.07;
  pen.fillRect(LEFT, y(0), width - LEFT - RIGHT, y(-1) - y(0));
  pen.globalAlpha = 1;
  pen.strokeStyle = colour('--rs-muted');
  pen.beginPath(); pen.moveTo(LEFT, y(0)); pen.lineTo(width - RIGHT, y(0)); pen.stroke();
}

function line(pen, values, x, y, look) {
  pen.strokeStyle = look.stroke;
  pen.globalAlpha = look.alpha;
  pen.lineWidth = look.thick ? 2 : 1.25;
  pen.setLineDash(look.dash ? [6, 4] : []);
  pen.lineJoin = 'round';
  pen.beginPath();
  let open = false;
  // A value may be logged more rarely than the steps (the gradient cosine is): its points are joined.
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value === null || !Number.isFinite(value) || (look.log && value <= 0)) continue;
    if (open) pen.lineTo(x(data.step[i]), y(value)); else pen.moveTo(x(data.step[i]), y(value));
    open = true;
  }
  pen.stroke();
  pen.setLineDash([]);
  pen.globalAlpha = 1;
}

function cross(pen, shown, x, y, height) {
  const at = x(data.step[hover]);
  pen.strokeStyle = colour('--rs-muted');
  pen.lineWidth = 1;
  pen.beginPath(); pen.moveTo(at, TOP); pen.lineTo(at, height - BOTTOM); pen.stroke();
  for (const name of shown) {
    const value = data[name][hover];
    if (value === null || !Number.isFinite(value)) continue;
    pen.fillStyle = colour(COLOURS[name]);
    pen.beginPath(); pen.arc(at, y(value), 3.5, 0, 7); pen.fill();
  }
}

for (const name of ['smooth', 'log']) $(name).addEventListener('change', draw);
window.addEventListener('rs:theme', draw);
new ResizeObserver(draw).observe(element);
document.addEventListener('visibilitychange', () => { if (!document.hidden) load(); });
watch('value', choose);
draw();
choose();
