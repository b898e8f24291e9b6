// The box for questions in SQL. Needs dom.js. ask(query, reveal) answers {columns, rows, told, selects, sensitive}; use(query) shows the rows.
function makeSql(form, { ask, use }) {
  const find = (selector) => form.querySelector(selector);
  const entry = find('textarea'), told = find('.rt-told'), show = find('.rt-use'), bare = find('.rt-bare'), answer = find('.rt-answer'), samples = find('select');
  let asked = '', revealed = false, examples = [];

  function table(reply) {
    const heads = reply.columns.map((column) => h('th', { scope: 'col', class: column.number ? 'num' : null, text: column.name }));
    find('thead').replaceChildren(h('tr', {}, ...heads));
    find('tbody').replaceChildren(...reply.rows.map((row) => h('tr', {}, ...row.map((cell, place) => h('td', { class: [reply.columns[place].number ? 'num' : '', cell === null ? 'rt-null' : ''].join(' ').trim() || null, text: cell === null ? 'none' : cell })))));
  }
  const run = lastWins(async () => {
    asked = entry.value;
    told.textContent = 'Asking\u2026';
    told.dataset.kind = '';
    const reply = await ask(asked, revealed);
    const fine = reply && reply.ok;
    told.textContent = fine ? reply.told : (reply && reply.error) || 'The question could not be asked. Is the app still running?';
    told.dataset.kind = fine ? '' : 'error';
    answer.hidden = !fine || !reply.columns.length;
    show.disabled = !fine || !reply.selects;
    show.title = fine && !reply.selects ? 'The answer needs a column row_id and a row' : '';
    bare.hidden = !fine || !reply.sensitive;
    bare.setAttribute('aria-pressed', String(revealed));
    bare.textContent = revealed ? 'Mask again' : 'Reveal text';
    if (fine) table(reply);
  });
  function describe(reply) {
    examples = reply.examples;
    samples.replaceChildren(h('option', { value: '', text: 'Examples' }), ...examples.map((one, place) => h('option', { value: String(place), text: one.title })));
    find('.rt-tables').replaceChildren(...Object.entries(reply.tables).map(([name, columns]) => h('span', {}, h('b', { text: name }), ` ${columns.join(', ')}`)));
  }

  form.addEventListener('submit', (event) => { event.preventDefault(); revealed = false; run(); });
  entry.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); revealed = false; run(); }
  });
  show.addEventListener('click', () => use(asked));
  bare.addEventListener('click', () => { revealed = !revealed; run(); });
  samples.addEventListener('change', () => { if (samples.value !== '') { entry.value = examples[Number(samples.value)].query; samples.value = ''; entry.focus(); } });
  return { describe, fill: (query) => { entry.value = query; }, focus: () => entry.focus(), again: () => { revealed = false; if (!answer.hidden) run(); }, clear: () => { answer.hidden = true; told.textContent = ''; show.disabled = true; bare.hidden = true; } };
}
