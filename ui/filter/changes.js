// Rows that another line, or another scorer, would treat otherwise. value = JSON of {dataset, key, threshold, calibrated,
// sets: [{key, title, threshold}, …]}; server: srv_changes, which counts for the newest question only.
const $ = (selector) => element.querySelector(selector);
const panel = $('.ch'), scores = $('.ch-scores'), entry = $('.ch-line'), body = $('tbody');
let data = null, at = 0, waiting = 0;

const there = () => ({ key: scores.value, t: Number(entry.value) });
const valid = () => entry.value !== '' && Math.abs(Number(entry.value)) <= 1;

const ROWS = [
  ['added', 'flagged there, kept here', 'added'],
  ['dropped', 'flagged here, kept there', 'dropped'],
  ['both', 'flagged by both', null],
  ['neither', 'kept by both', null],
];

function tell(found) {
  const known = ['both', 'added', 'dropped', 'neither'].some((name) => found[name][0] + found[name][1] > 0);
  for (const cell of element.querySelectorAll('thead .ch-known')) cell.hidden = !known;
  body.replaceChildren(...ROWS.map(([name, title, change]) => {
    const [harmful, harmless, unlabelled] = found[name], rows = harmful + harmless + unlabelled;
    const list = change && rows ? h('button', { type: 'button', class: 'rs-button', text: 'List them', onclick: () => narrow(change) }) : null;
    return h('tr', {}, h('th', { scope: 'row', class: 'text', text: title }), h('td', { class: 'num', text: number(rows) }),
      known && h('td', { class: 'num', text: number(harmful) }), known && h('td', { class: 'num', text: number(harmless) }), h('td', {}, list));
  }));
  const total = (name) => found[name].reduce((a, b) => a + b, 0);
  const changed = total('added') + total('dropped'), all = changed + total('both') + total('neither');
  const parts = [changed ? `${number(changed)} of ${number(all)} rows change sides (${percent(all ? changed / all : null, changed / all < 0.001 ? 3 : 1)}).` : 'No row changes sides.'];
  if (found.unscored) parts.push(`${number(found.unscored)} ${found.unscored === 1 ? 'row lacks' : 'rows lack'} one of the two scores and ${found.unscored === 1 ? 'is' : 'are'} left out.`);
  $('.ch-said').textContent = parts.join(' ');
}
const narrow = (change) => listRows({ ...ANEW, other: [there().key, there().t], change });

const load = lastWins(async () => {
  const asked = data, other = there();
  const reply = await server.srv_changes({ dataset: asked.dataset, key: asked.key, t: at, other: other.key, other_t: other.t });
  if (asked !== data) return;
  if (reply && reply.ok) { tell(reply.changes); return; }
  body.replaceChildren();
  $('.ch-said').textContent = (reply && reply.error) || 'The rows could not be compared. Is the app still running?';
});
function ask() {
  clearTimeout(waiting);
  if (!data || panel.offsetParent === null) return;
  if (!valid()) { $('.ch-said').textContent = 'A threshold lies between \u22121 and 1. Type one to compare with.'; return; }
  waiting = setTimeout(load, 40);
}

function lines() {
  const set = data.sets.find((one) => one.key === scores.value), named = [['calibrated', set.threshold]];
  if (set.key === data.key) named.push(['in use', data.threshold]);
  $('.ch-lines').replaceChildren(...named.map(([name, t]) => h('button', { type: 'button', class: 'rs-pill', text: `${name} ${signed(t)}`, onclick: () => { entry.value = t.toFixed(3); ask(); } })));
  return set;
}

scores.addEventListener('change', () => { entry.value = lines().threshold.toFixed(3); ask(); });
entry.addEventListener('input', ask);
$('.ch-form').addEventListener('submit', (event) => event.preventDefault());
rs.on('rs:threshold', (event) => { if (data && event.detail.key === data.key && event.detail.dataset === data.dataset) { at = event.detail.t; ask(); } });
rs.on('rs:panel', (event) => { if (event.detail.name === 'changes') ask(); });
function draw() {
  const before = JSON.stringify(data && [data.dataset, data.key, data.sets]);
  data = readJson(props.value, null);
  panel.hidden = !data;
  if (!data) return;
  if (before !== JSON.stringify([data.dataset, data.key, data.sets])) {
    const sets = [...data.sets].sort((a, b) => (a.key === data.key) - (b.key === data.key)); // another scorer is the usual question
    scores.replaceChildren(...sets.map((one) => h('option', { value: one.key, text: one.key === data.key ? 'the same scores' : one.title })));
    scores.value = sets[0].key;
    at = data.threshold;
    entry.value = lines().threshold.toFixed(3);
  } else lines();
  ask();
}
watch('value', draw);
draw();
