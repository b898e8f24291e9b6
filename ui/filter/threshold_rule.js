// Presets of the line: the calibrated one, and rules that find it on the server from held-out prompts.
// value = JSON of {dataset, key, calibrated, clean: [[source, name], …]}; server: srv_rule.
// A finding moves the line of the threshold panel and tells it the rule, which is kept with the threshold once that is used.
const panel = element.querySelector('.ru'), found = element.querySelector('.ru-found');
const $ = (selector) => found.querySelector(selector);
let data = null, preset = null;

function settings(form) {
  const chosen = { rule: form.dataset.rule };
  for (const entry of form.querySelectorAll('input')) chosen[entry.name] = 'percent' in entry.dataset ? Number((Number(entry.value) / 100).toPrecision(12)) : Number(entry.value);
  for (const entry of form.querySelectorAll('select')) chosen[entry.name] = entry.value;
  return chosen;
}

function tell(reply) {
  found.hidden = false;
  found.dataset.kind = reply.ok ? 'found' : 'error';
  for (const part of ['.ru-number', '.ru-held', '.ru-assumption']) $(part).hidden = !reply.ok;
  $('.ru-promise').textContent = reply.ok ? reply.promise : reply.error;
  if (!reply.ok) return;
  $('.ru-number b').textContent = signed(reply.threshold);
  $('.ru-number span').textContent = `${number(reply.flagged)} ${reply.flagged === 1 ? 'row' : 'rows'} flagged`;
  const left = reply.excluded ? ` ${number(reply.excluded)} calibration prompts are in this file too and were left out.` : '';
  $('.ru-assumption').textContent = reply.assumption + left;
  const lines = [['Recall, held-out', reply.recall, reply.harmful], ['False positives, held-out', reply.false_positive_rate, reply.harmless]];
  $('.ru-held').replaceChildren(...lines.flatMap(([name, share, n]) => [h('dt', { text: name }), h('dd', { text: share || (reply.withheld ? 'withheld' : `only ${number(n)} prompts`) })]));
}

async function find(form) {
  const asked = data, button = form.querySelector('button'), chosen = settings(form);
  if (button) button.disabled = true;
  const reply = await server.srv_rule({ dataset: asked.dataset, key: asked.key, ...chosen });
  if (button) button.disabled = false;
  if (asked !== data || !reply || preset !== form.dataset.rule) return;
  tell(reply);
  if (reply.ok) rs.emit('rs:move-threshold', { t: reply.threshold, rule: reply.rule });
}

// One preset at a time: its settings, where it has some, and what it finds with them at once.
function choose(name) {
  preset = name;
  for (const pill of panel.querySelectorAll('.rs-pill')) pill.setAttribute('aria-pressed', String(pill.dataset.preset === name));
  let shown = null;
  for (const form of panel.querySelectorAll('form')) {
    form.hidden = form.dataset.rule !== name || !form.children.length;
    if (form.dataset.rule === name) shown = form;
  }
  found.hidden = true;
  if (name === 'calibrated') rs.emit('rs:move-threshold', { t: data.calibrated });
  else if (shown && shown.reportValidity()) find(shown);
}

for (const pill of panel.querySelectorAll('.rs-pill')) pill.addEventListener('click', () => { if (data) choose(pill.dataset.preset); });
for (const form of panel.querySelectorAll('form')) {
  form.addEventListener('submit', (event) => { event.preventDefault(); if (data) find(form); });
}
// A line moved by hand is no preset's any more; what was found stays readable until another is asked for.
rs.on('rs:threshold', (event) => {
  if (!data || event.detail.key !== data.key) return;
  const calibrated = panel.querySelector('[data-preset=calibrated]');
  calibrated.setAttribute('aria-pressed', String(preset === 'calibrated' && toIndex(event.detail.t) === toIndex(data.calibrated)));
});

function draw() {
  const before = data && `${data.dataset} ${data.key}`;
  data = readJson(props.value, null);
  element.closest('.block').hidden = panel.hidden = !data;
  if (!data) return;
  panel.querySelector('[data-preset=calibrated]').textContent = `Calibrated ${signed(data.calibrated)}`;
  const clean = panel.querySelector('select[name=clean]'), chosen = clean.value;
  clean.replaceChildren(...data.clean.map(([value, name]) => h('option', { value, text: name })));
  if (data.clean.some(([value]) => value === chosen)) clean.value = chosen;
  if (before === `${data.dataset} ${data.key}`) return;
  preset = null;
  found.hidden = true;
  for (const form of panel.querySelectorAll('form')) form.hidden = true;
  for (const pill of panel.querySelectorAll('.rs-pill')) pill.setAttribute('aria-pressed', 'false');
}
watch('value', draw);
draw();
