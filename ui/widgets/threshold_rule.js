// Rules that find the threshold on the server, from held-out prompts. value = JSON of {dataset, key}; server: srv_rule.
// A finding moves the line of the threshold panel and tells it the rule, which is kept with the threshold once that is used.
const panel = element.querySelector('.ru'), found = element.querySelector('.ru-found');
const $ = (selector) => found.querySelector(selector);
let data = null;

function settings(form) {
  const chosen = { rule: form.dataset.rule };
  for (const entry of form.querySelectorAll('input')) chosen[entry.name] = 'percent' in entry.dataset ? Number((Number(entry.value) / 100).toPrecision(12)) : Number(entry.value);
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
  $('.ru-held').replaceChildren(...lines.flatMap(([name, share, n]) => [h('dt', { text: name }), h('dd', { text: share || `only ${number(n)} prompts` })]));
}

async function find(form) {
  const asked = data, button = form.querySelector('button'), chosen = settings(form);
  button.disabled = true;
  for (const one of panel.querySelectorAll('.ru-rule')) one.toggleAttribute('data-on', one === form);
  const reply = await server.srv_rule({ dataset: asked.dataset, key: asked.key, ...chosen });
  button.disabled = false;
  if (asked !== data || !reply) return;
  tell(reply);
  if (reply.ok) rs.emit('rs:move-threshold', { t: reply.threshold, rule: reply.rule });
}

for (const form of panel.querySelectorAll('form')) {
  form.addEventListener('submit', (event) => { event.preventDefault(); if (data) find(form); });
}

function draw() {
  const before = data && `${data.dataset} ${data.key}`;
  data = readJson(props.value, null);
  element.closest('.block').hidden = panel.hidden = !data;
  if (data && before === `${data.dataset} ${data.key}`) return;
  found.hidden = true;
  for (const form of panel.querySelectorAll('form')) form.removeAttribute('data-on');
}
watch('value', draw);
draw();
