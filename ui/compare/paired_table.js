// Every chosen run against one of them: a cell per number with difference, interval, p and what may be said. dom.js and marks.js come first.
// value = {base, metrics: [{key, title, note}], rows: [{title, colour, shape, cells: {key: {difference, interval, p, n, verdict, why, kind}}}], empty}
const head = element.querySelector('thead'), body = element.querySelector('tbody');
const none = element.querySelector('.rs-empty'), wrap = element.querySelector('.rs-table-wrap');

function cell(found) {
  if (!found) return h('td', { class: 'rs-muted', text: '–' });
  return h('td', { class: 'pt-cell' }, h('b', { text: found.difference }), h('span', { class: 'rs-badge', 'data-kind': found.kind, text: found.verdict }),
    found.why ? h('small', { text: found.why }) : null,
    h('small', { text: `95\u00a0%: ${found.interval.replaceAll(' ', '\u00a0')}, p\u00a0${found.p.replaceAll(' ', '\u00a0')}, n\u00a0=\u00a0${found.n}` }));
}

function draw() {
  const { metrics = [], rows = [], base = '', empty = '' } = props.value || {};
  wrap.hidden = !rows.length;
  none.hidden = rows.length > 0 || !empty;
  none.textContent = empty;
  head.replaceChildren(h('tr', {}, h('th', { scope: 'col', text: `Run, against ${base}` }), ...metrics.map((metric) => h('th', { scope: 'col' }, metric.title, h('small', { text: ` ${metric.note}` })))));
  body.replaceChildren(...rows.map((row) => h('tr', {},
    h('td', {}, h('span', { class: 'pt-name' }, mark(row.colour, row.shape), row.title)), ...metrics.map((metric) => cell(row.cells[metric.key])))));
}

watch('value', draw);
draw();
