// Which prompts two runs answer differently: a 2x2 table whose cells choose the rows listed below. dom.js and marks.js come first.
// value = {a, b, marks, bad, good, cells: {only_a, only_b, both_bad, both_good}, sentence, rows, hide, empty}
const grid = element.querySelector('.fl-grid'), list = element.querySelector('.fl-rows'), none = element.querySelector('.fl-empty');
let chosen = null;
const revealed = new Set();

function cell(data, key, label) {
  const button = h('button', { type: 'button', 'aria-pressed': String(chosen === key), disabled: !key.startsWith('only') || !data.cells[key] }, String(data.cells[key]), h('small', { text: label }));
  button.onclick = () => { chosen = chosen === key ? null : key; draw(); };
  return h('td', {}, button);
}

function table(data) {
  const heads = element.querySelectorAll('thead th');
  heads[0].textContent = data.b;
  heads[1].textContent = data.good;
  heads[2].textContent = data.bad;
  element.querySelector('tbody').replaceChildren(
    h('tr', {}, h('th', { scope: 'row', text: `${data.a}: ${data.good}` }), cell(data, 'both_good', 'both'), cell(data, 'only_b', 'only the second')),
    h('tr', {}, h('th', { scope: 'row', text: `${data.a}: ${data.bad}` }), cell(data, 'only_a', 'only the first'), cell(data, 'both_bad', 'both')));
  element.querySelector('.fl-sentence').textContent = data.sentence;
}

function answer(data, which, side, hide) {
  const kind = side.bad ? 'flag' : '';
  return h('div', { class: 'fl-answer' },
    h('header', {}, mark(data.marks[which][0], data.marks[which][1], 11), h('span', { text: data[which] }), h('span', { class: 'rs-badge', 'data-kind': kind, text: side.verdict })),
    h('p', { text: hide ? maskedText(side.text) : side.text || '(empty answer)' }));
}

function row(data, entry) {
  const hide = data.hide && window.rs.masked && !revealed.has(entry.row);
  const node = h('article', { class: 'fl-row', 'data-row': entry.row });
  const reveal = h('button', { type: 'button', class: 'rs-button', text: hide ? 'Reveal' : 'Mask again', hidden: !(data.hide && window.rs.masked) });
  reveal.onclick = () => { if (revealed.has(entry.row)) revealed.delete(entry.row); else revealed.add(entry.row); draw(); };
  node.append(
    h('div', { class: 'fl-top' }, h('small', { text: `Prompt ${entry.row}${entry.category ? `, ${entry.category}` : ''}` }), h('span', { class: 'fl-prompt', text: hide ? maskedText(entry.prompt) : entry.prompt }), reveal),
    h('div', { class: 'fl-answers' }, answer(data, 'a', entry.a, hide), answer(data, 'b', entry.b, hide)));
  return node;
}

function draw() {
  const data = props.value || {};
  const has = Boolean(data.cells);
  grid.hidden = list.hidden = !has;
  none.hidden = has;
  none.textContent = data.empty || '';
  if (!has) return;
  table(data);
  const rows = data.rows.filter((entry) => !chosen || entry.cell === chosen);
  const at = list.scrollTop;
  list.replaceChildren(...rows.slice(0, 100).map((entry) => row(data, entry)));
  if (!rows.length) list.append(h('p', { class: 'fl-more', text: 'No prompt is answered differently.' }));
  if (rows.length > 100) list.append(h('p', { class: 'fl-more', text: `The first 100 of ${rows.length} prompts are listed.` }));
  list.scrollTop = at;
}

window.rs.on('rs:mask', draw);
watch('value', () => { chosen = null; revealed.clear(); draw(); });
draw();
