// Settings in which runs differ: a column for each run, a line for each setting. dom.js and marks.js come first.
// value = {columns: [{title, colour, shape}], rows: [{label, values}], empty, note}; `host` is emptied where there is nothing to say.
function settingRows(host, { columns = [], rows = [], empty = '', note = '' } = {}) {
  if (!rows.length) {
    host.replaceChildren(...(empty ? [h('p', { class: 'sr-none', text: empty })] : []));
    return;
  }
  const heads = columns.map((run) => h('th', { scope: 'col' }, h('span', { class: 'sr-run' }, mark(run.colour, run.shape), h('span', { text: run.title }))));
  const lines = rows.map((row) => h('tr', {}, h('th', { scope: 'row', text: row.label }), ...row.values.map((value) => h('td', { text: value }))));
  host.replaceChildren(note ? h('p', { class: 'sr-none', text: note }) : '', h('div', { class: 'rs-table-wrap' }, h('table', { class: 'rs-table sr-table' },
    h('thead', {}, h('tr', {}, h('th', { scope: 'col', text: 'Setting' }), ...heads)), h('tbody', {}, ...lines))));
}
