// A run in training: numbers, curves, sample answers, log. Only what is new travels: the card asks for what came after the offset it holds.
// dom.js, curve_math.js, curve_panels.js, live_answers.js come first. value = {run, empty}: a run or job, or 'live' for whatever trains
// now (else the newest run).
const LIVE_MS = 1000, IDLE_MS = 3000, LOG_MS = 2000, LARGE = 150, SMALL = 84;
const PLOTS = [
  { title: 'Loss', series: ['task', 'alignment'], fallback: ['loss'], log: true, smooth: true, large: true },
  { title: 'Along training, %', series: ['hs', 'over_refusal', 'fa'], quick: true, range: [0, 100], large: true },
  { title: 'Gradient cosine', series: ['grad_cosine'], range: [-1, 1], zero: true, smooth: true },
  { title: 'Learning rate', series: ['lr'] },
  { title: 'Gradient norm', series: ['grad_norm'], smooth: true },
  { title: 'Tokens/s', series: ['tokens_per_second'], smooth: true },
  { title: 'Memory, MB', series: ['memory_mb'] },
];
const LINES = {
  loss: { label: 'Loss', colour: '--rs-ink' }, task: { label: 'Task', colour: '--rs-sft' }, alignment: { label: 'Alignment', colour: '--rs-teacher', dash: [6, 4] },
  lr: { label: 'Learning rate', colour: '--rs-accent' }, grad_norm: { label: 'Gradient norm', colour: '--rs-accent' }, grad_cosine: { label: 'Gradient cosine', colour: '--rs-accent' },
  tokens_per_second: { label: 'Tokens/s', colour: '--rs-accent', whole: true }, memory_mb: { label: 'Memory, MB', colour: '--rs-accent', whole: true },
  hs: { label: 'HS', colour: '--rs-flag', dash: [6, 4], percent: true }, over_refusal: { label: 'Over-refusal', colour: '--rs-unsure', dash: [2, 3], percent: true }, fa: { label: 'FA', colour: '--rs-aligned', percent: true },
};
const SCORES = ['hs', 'over_refusal', 'fa'], COLUMNS = ['step', 'steps', ...Object.keys(LINES).filter((name) => !SCORES.includes(name))];
const NOW = ['task', 'alignment', 'loss', 'grad_cosine', 'grad_norm', 'lr', 'tokens_per_second', 'memory_mb', ...SCORES];
const $ = (name) => element.querySelector(`.lr-${name}`);
let heard = false, wanted = null, subject = null, offset = 0, live = false, opened = false, busy = false, timer = null, frame = 0;
let data = empty(), quick = noScores(), facts = {}, hover = null, names = null, other = null;
const answers = answerList($('list'));

function empty() { return Object.fromEntries(COLUMNS.map((name) => [name, []])); }
function noScores() { return Object.fromEntries(['step', 'n', ...SCORES.flatMap((name) => [name, `${name}_low`, `${name}_high`])].map((name) => [name, []])); }
const has = (from, name) => (from[name] || []).some((value) => value !== null);
const from = (name) => (SCORES.includes(name) ? quick : data);
const span = () => [0, Math.max(data.steps.at(-1) || 0, data.step.at(-1) ?? 0, quick.step.at(-1) ?? 0, other ? other.data.step.at(-1) ?? 0 : 0, 1)];

// ---- data
async function load() {
  clearTimeout(timer);
  if (!wanted || busy) return;
  const asked = wanted;
  busy = true;
  try {
    const answer = document.hidden ? null : await server.srv_live({ run: asked, subject, offset, choices: names === null });
    if (answer?.ok && asked === wanted) show(answer);
  } finally {
    busy = false;
    if (asked !== wanted) load();
    else if (live || document.hidden || wanted === 'live') timer = setTimeout(load, live ? LIVE_MS : IDLE_MS);
  }
}

function show(answer) {
  heard = true;
  if (answer.choices) choices(answer.choices);
  if (answer.subject !== subject) { if (subject !== null) names = null; clear(); }
  else if (answer.anew) clear();
  ({ subject, offset, live } = answer);
  Object.assign(facts, Object.fromEntries(answer.facts));
  $('title').textContent = answer.title;
  $('state').textContent = answer.state;
  $('state').hidden = !answer.state;
  $('state').dataset.kind = live ? 'accent' : '';
  $('printed').hidden = !answer.has_log;
  take(data, answer.points);
  takeScores(quick, answer.quick);
  if (answer.answers.length) answers.show(answer.answers);
  $('answers').hidden = !quick.step.length || !$('list').childElementCount;
  $('answers').querySelector('summary').textContent = `Sample answers after step ${quick.step.at(-1) ?? 0}`;
  draw();
}

function clear() { data = empty(); quick = noScores(); facts = {}; hover = null; answers.show([]); }

// Adds points; when the steps begin anew (a job that trains several runs, or one tried again) the curves do too.
function take(into, points) {
  points.step.forEach((step, i) => {
    if (into.step.length && step <= into.step.at(-1)) for (const name of COLUMNS) into[name].length = 0;
    for (const name of COLUMNS) into[name].push(points[name][i]);
  });
}

function takeScores(into, found) {
  for (const one of found) {
    if (into.step.length && one.step <= into.step.at(-1)) continue;
    into.step.push(one.step);
    into.n.push(Math.max(...SCORES.map((name) => one[name]?.[3] ?? 0)));
    for (const name of SCORES) ['', '_low', '_high'].forEach((end, i) => into[name + end].push(one[name]?.[i] ?? null));
  }
}

// ---- what to look at
function choices(found) {
  names = found;
  const fill = (select, head, rows, value) => {
    select.replaceChildren(h('option', { value: head[0], text: head[1] }), ...rows.map(([id, title]) => h('option', { value: id, text: title })));
    select.value = value;
    if (!select.value) select.value = head[0];
  };
  fill($('run'), ['live', 'what trains now'], found, wanted);
  fill($('other'), ['', 'nothing'], found.filter(([, , done]) => done), other?.run || '');
}

function choose() {
  const next = props.value?.run || null;
  if (next) look(next);
}

function look(next) {
  if (next === wanted) return;
  wanted = next;
  opened = next !== 'live';
  names = null;
  load();
}

async function compare(run) {
  other = null;
  if (run) {
    const found = await server.srv_live({ run, subject: '', offset: 0 });
    if (found?.ok) { other = { run, data: empty(), quick: noScores() }; take(other.data, found.points); takeScores(other.quick, found.quick); }
  }
  draw();
}

// ---- drawing
const panels = PLOTS.map((plot) => {
  const host = h('div', { class: 'lr-plot' }), caption = h('figcaption');
  const figure = h('figure', { role: 'img', tabindex: '0', 'data-large': Boolean(plot.large) }, caption, host);
  $('plots').append(figure);
  const panel = curvePanel(host, { ...plot, height: plot.large ? LARGE : SMALL, weight: 0.6, span }, point);
  figure.addEventListener('keydown', (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key], steps = (plot.quick ? quick : data).step;
    if (!move || !steps.length) return;
    event.preventDefault();
    panel.point(steps[Math.max(0, Math.min(steps.length - 1, nearest(steps, hover ?? steps.at(-1)) + move))]);
  });
  return { plot, panel, figure, caption };
});

function point(step) { if (step !== hover) { hover = step; now(); } }
function draw() { cancelAnimationFrame(frame); frame = requestAnimationFrame(paint); }

function paint() {
  const none = !data.step.length && !quick.step.length, closed = !live && !opened;
  $('empty').hidden = !none || !heard;
  $('empty').textContent = !subject ? props.value?.empty || '' : live ? 'No step has been logged yet. Curves appear with the first step.' : 'This run has no log.';
  $('head').hidden = !subject;
  $('now').hidden = none;
  $('open').hidden = none || !closed;
  $('plots').hidden = none || closed;
  for (const tool of element.querySelectorAll('.lr-when-open')) tool.hidden = none || closed;
  if (none) return;
  now();
  if (closed) return;
  if (!window.uPlot) { $('empty').hidden = false; $('empty').textContent = 'The program that draws curves did not load. Load the page again.'; return; }
  const look = { smooth: $('smooth').checked, log: $('log').checked };
  for (const one of panels) paintPanel(one, look);
}

function paintPanel({ plot, panel, figure, caption }, look) {
  const source = plot.quick ? quick : data;
  let shown = plot.series.filter((name) => has(source, name));
  if (!shown.length) shown = (plot.fallback || []).filter((name) => has(source, name));
  figure.hidden = !shown.length;
  if (!shown.length) return;
  const lines = shown.map((name) => ({ name, ...LINES[name], band: plot.quick && [`${name}_low`, `${name}_high`] }));
  const legend = lines.length > 1 || plot.quick ? lines.map((line) => h('span', {}, swatch(line), line.label)) : [];
  const note = plot.quick ? [h('span', { text: `quick, n = ${quick.n.at(-1)} each, 95 % intervals` })] : [];
  caption.replaceChildren(h('b', { text: plot.title }), ...legend, ...note);
  const theirs = other && (plot.quick ? other.quick : other.data);
  panel.draw(lines, source, theirs?.step.length && shown.every((name) => theirs[name]) ? theirs : null, look);
  figure.setAttribute('aria-label', `${plot.title}. ${lines.map((line) => `${line.label} now ${brief(source[line.name].at(-1))}`).join(', ')}. Left and right arrows read single steps.`);
}

function swatch(line) {
  const mark = h('i', { 'data-dash': Boolean(line.dash) });
  mark.style.color = `var(${line.colour})`;
  return mark;
}

function value(name) {
  const source = from(name);
  let at = hover === null ? source.step.length - 1 : nearest(source.step, hover);
  while (at > 0 && source[name][at] === null) at -= 1; // measured now and then: its last value
  const found = source[name][at];
  if (SCORES.includes(name)) return found === null ? '–' : `${found.toFixed(0)} % [${source[`${name}_low`][at].toFixed(0)}, ${source[`${name}_high`][at].toFixed(0)}]`;
  return LINES[name].whole ? Math.round(found ?? 0).toLocaleString('en-GB') : brief(found);
}

function now() {
  const step = hover ?? data.step.at(-1) ?? quick.step.at(-1), total = data.steps.at(-1);
  const fact = (name, text, mark) => h('div', {}, h('dt', {}, mark, name), h('dd', { text }));
  const items = [fact('Step', total ? `${step} of ${total}` : String(step)), ...Object.entries(facts).filter(([, text]) => text).map(([name, text]) => fact(name, text))];
  const both = has(data, 'task') && has(data, 'alignment');
  for (const name of NOW) if (has(from(name), name) && (name !== 'loss' || both || !has(data, 'task'))) items.push(fact(LINES[name].label, value(name), both && ['task', 'alignment'].includes(name) ? swatch(LINES[name]) : null));
  $('now').replaceChildren(...items);
}

// ---- log: its end, followed while it is open and not scrolled up
let reading = null;
async function read() {
  clearTimeout(reading);
  const box = $('printed');
  if (!box.open || box.hidden || !subject) return;
  const found = await server.srv_log({ subject }), pre = box.querySelector('pre');
  const follows = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 24;
  if (found?.ok && pre.textContent !== found.text) pre.textContent = found.text || 'Nothing has been printed.';
  if (follows) pre.scrollTop = pre.scrollHeight;
  if (live) reading = setTimeout(read, LOG_MS);
}

$('printed').addEventListener('toggle', read);
$('open').onclick = () => { opened = true; draw(); };
$('run').onchange = (event) => look(event.target.value);
$('other').onchange = (event) => compare(event.target.value);
for (const name of ['smooth', 'log']) $(name).addEventListener('change', draw);
window.addEventListener('rs:theme', () => { for (const { panel } of panels) panel.repaint(); });
window.rs.on('rs:mask', draw);
window.rs.on('rs:refresh', () => { names = null; load(); });
new ResizeObserver(() => { for (const { panel } of panels) panel.resize(); }).observe(element);
document.addEventListener('visibilitychange', () => { if (!document.hidden) load(); });
watch('value', choose);
draw();
choose();
