// Rows that could not be scored, by reason. value = JSON of [[reason, rows], …].
const panel = element.querySelector('.un');
element.querySelector('button').addEventListener('click', () => listRows({ ...ANEW, side: 'unscored' }));
function draw() {
  const reasons = readJson(props.value, []) || [];
  panel.hidden = !reasons.length;
  element.querySelector('tbody').replaceChildren(...reasons.map(([reason, rows]) => h('tr', {}, h('td', { class: 'text', text: reason }), h('td', { class: 'num', text: number(rows) }))));
}
watch('value', draw);
draw();
