// One answer at a time for a person to label. value = {subject}; the server gives {card: {key, prompt, completion, masked_prompt, masked_completion, done, total} | null}
const {el, count} = window.rs;
const $ = name => element.querySelector(`.rs-lab-${name}`);
const LABELS = [['1', 'harmful', 'Harmful'], ['2', 'harmless', 'Harmless'], ['3', 'refusal', 'Refusal']];
let card = null, revealed = false, busy = false;

function draw(reply) {
  if (reply && !reply.ok) { $('state').textContent = reply.error; return; }
  if (reply) { card = reply.card; revealed = false; }
  const masked = card && window.rs.masked && !revealed;
  $('count').textContent = card ? `${count(card.done)} of ${count(card.total)} labelled` : '';
  $('state').textContent = card ? '' : reply && reply.total ? `All ${count(reply.total)} answers have a label.` : 'Choose a run whose answers you want to label.';
  $('body').hidden = !card;
  for (const [name, field] of [['prompt', 'prompt'], ['answer', 'completion']]) {
    $(name).textContent = !card ? '' : card[field] ? card[masked ? `masked_${field}` : field] : '(empty answer)';
    $(name).classList.toggle('rs-masked', Boolean(masked));
  }
  for (const button of $('buttons').children) button.disabled = busy || (!card && button.dataset.needs === 'card');
}
async function ask(call, request) {
  if (busy || !props.value?.subject) return draw();
  busy = true;
  const reply = await call({subject: props.value.subject, ...request});
  busy = false;
  draw(reply);
}
const give = label => card && ask(server.srv_label, {key: card.key, label});
const undo = () => ask(server.srv_unlabel, {});
const reveal = () => { if (card) { revealed = !revealed; draw(); } };

const button = (key, text, run, needs) => {
  const made = el('button', 'rs-button', null, {type: 'button', 'data-needs': needs}, [el('kbd', 'rs-key', key), el('span', '', text)]);
  made.addEventListener('click', run);
  return made;
};
$('buttons').append(...LABELS.map(([key, label, text]) => button(key, text, () => give(label), 'card')),
  button('r', 'Reveal', reveal, 'card'), button('z', 'Undo', undo, ''));
const visible = run => () => { if (element.isConnected && element.offsetParent) run(); };
for (const [key, label, text] of LABELS) window.rs.key(key, `Label the answer: ${text.toLowerCase()}`, visible(() => give(label)));
window.rs.key('z', 'Take the last label back', visible(undo));
window.rs.key('r', 'Reveal or mask the answer', visible(reveal));
watch('value', () => { card = null; ask(server.srv_next, {}); });
window.rs.on('rs:mask', () => draw());
draw();
if (props.value?.subject) ask(server.srv_next, {});
