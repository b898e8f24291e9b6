// Rows as rendered chats; the answer that is trained is tinted, turns after it (out) are struck through. props.empty, props.legend; value = {rows: [{id, name, tags: [{text, kind}],
// hide, turns: [{role, text, short, trained, note, out}]}]}. A row with `hide` is masked until revealed.
const {el} = window.rs;
const place = element.querySelector('.rs-turns'), empty = element.querySelector('.rs-empty'), legend = element.querySelector('.rs-turns-legend');
const revealed = new Set();

function turn({role, text, short, trained, note, out}, masked) {
  const who = el('div', 'rs-turn-role', role, {}, trained || note ? [el('small', trained ? '' : 'quiet', trained ? 'trained' : note)] : []);
  const shown = el('div', masked ? 'rs-text rs-masked' : 'rs-text', null, {}, [el('span', '', masked ? short : text)]);
  return el('div', 'rs-turn', null, {'data-trained': trained, 'data-out': out, 'data-role': role}, [who, shown]);
}
function row(data) {
  const masked = data.hide && window.rs.masked && !revealed.has(data.id);
  const head = el('div', 'rs-turns-head', null, {}, [el('span', 'rs-number', data.name)]);
  for (const {text, kind} of data.tags) head.append(el('span', 'rs-badge', text, {'data-kind': kind}));
  if (data.hide && window.rs.masked) {
    const button = el('button', 'rs-button', masked ? 'Reveal' : 'Mask again', {type: 'button'});
    button.addEventListener('click', () => { revealed.has(data.id) ? revealed.delete(data.id) : revealed.add(data.id); draw(); });
    head.append(button);
  }
  return el('article', 'rs-turns-row', null, {}, [head, ...data.turns.map(part => turn(part, masked))]);
}
function draw() {
  const rows = props.value?.rows || [];
  place.replaceChildren(...rows.map(row));
  legend.hidden = !props.legend || !rows.length;
  empty.hidden = rows.length > 0 || !props.empty;
  empty.textContent = props.empty || '';
}
let before = window.rs.masked;
const remask = () => { if (before !== window.rs.masked) { before = window.rs.masked; revealed.clear(); draw(); } };
window.rs.on('rs:mask', remask);
window.rs.on('rs:state', remask);
watch('value', () => { revealed.clear(); draw(); });
draw();
