// What a sweep found, as a table that fills while it works. dom.js, marks.js and url.js come first.
// value = {id, show}: the sweep, '' for none. props.files = [[kind, title]], props.hidden_columns = [key].
// It fetches by srv_sweep, again and again while the sweep is at work. Event "drawn" {id, words, dark}: a chart of this is due.
const $ = (selector) => element.querySelector(selector);
const LIVE_MS = 2500, WAIT_MS = 250;
const hidden = new Set(props.hidden_columns);
let data = {}, words = '', timer = null, typing = null, told = '';

function head() {
  const cells = shown().map((one) => h('th', { scope: 'col' }, one.title, one.note && h('small', { text: one.note })));
  return h('tr', {}, h('th', { scope: 'col', text: 'Method' }), ...data.settings.map((text) => h('th', { scope: 'col', text })), h('th', { scope: 'col', text: 'Seeds' }), ...cells, h('th', { scope: 'col', 'aria-label': 'Links' }));
}
const shown = () => data.columns.filter((one) => !hidden.has(one.key));

function cell(one) {
  if (!one) return h('td', { text: '–' });
  return h('td', { title: one.hint }, h('b', { text: one.value }), one.range && h('small', { text: one.range }));
}

function line(row) {
  const seeds = h('td', {}, row.seeds, row.failed && h('small', { text: 'failed' }));
  const link = h('td', {}, row.href && h('a', { href: row.href, text: 'Compare', title: 'These runs beside plain SFT of the same setting' }));
  return h('tr', { 'data-waits': row.waits },
    h('td', {}, h('span', { class: 'sr-variant' }, mark(row.colour, row.shape, 12), h('span', { text: row.title }))),
    ...row.where.map((text) => h('td', { text })), seeds, ...shown().map((one) => cell(row.cells[one.key])), link);
}

function columns() {
  $('.sr-columns').replaceChildren(...data.columns.map((one) => {
    const node = h('button', { type: 'button', text: one.title, 'aria-pressed': String(!hidden.has(one.key)), title: 'Show or hide this column' });
    node.onclick = () => { if (!hidden.delete(one.key)) hidden.add(one.key); table(); };
    return node;
  }));
}

function table() {
  columns();
  $('thead').replaceChildren(head());
  $('tbody').replaceChildren(...data.rows.map(line));
}

const put = (selector, text) => { $(selector).hidden = !text; $(selector).textContent = text || ''; };

function draw() {
  const empty = data.empty;
  $('.rs-empty').hidden = !empty;
  $('.sr-found').hidden = !data.id;
  if (empty) {
    $('.rs-empty strong').textContent = empty.title;
    $('.rs-empty span').textContent = empty.text;
  }
  if (!data.id) return;
  put('.sr-name', data.name);
  put('.sr-summary', data.summary);
  put('.sr-cut', data.cut);
  put('.sr-withheld', data.withheld);
  put('.sr-note', data.note);
  $('.sr-failures').hidden = !data.failures.length;
  $('.sr-failures ul').replaceChildren(...data.failures.map((text) => h('li', { text })));
  table();
}

function tell() {
  const now = JSON.stringify([data.id, data.done, words, window.rs.dark]);
  if (now === told) return;
  told = now;
  trigger('drawn', { id: data.id || '', words, dark: window.rs.dark });
}

const load = lastWins(async () => {
  clearTimeout(timer);
  const id = props.value?.id || '';
  const answer = await server.srv_sweep({ id, words });
  put('.sr-error', answer && !answer.ok ? answer.error : '');
  if (answer?.ok) {
    data = answer;
    draw();
    tell();
  }
  if (data.live) timer = setTimeout(() => load(), LIVE_MS);
});

async function save(kind) {
  const answer = await server.srv_sweep_file({ id: data.id, kind, words, columns: shown().map((one) => one.key) });
  put('.sr-error', answer?.ok ? '' : answer?.error || 'The file could not be made.');
  if (!answer?.ok) return;
  const name = `${data.name.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '') || 'sweep'}.${kind}`;
  const link = h('a', { download: name, href: URL.createObjectURL(new Blob([answer.text], { type: 'text/plain;charset=utf-8' })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

for (const [kind, title] of props.files) {
  $('.sr-files').append(h('button', { type: 'button', class: 'rs-button', 'data-file': kind, text: title, 'aria-label': `Save as ${title}`, onclick: () => save(kind) }));
}
$('.sr-words input').oninput = (event) => {
  clearTimeout(typing);
  typing = setTimeout(() => { words = event.target.value; load(); }, WAIT_MS);
};
window.rs.on('rs:sweep', () => load());
window.rs.on('rs:theme', () => { if (data.id) tell(); });
watch('value', () => {
  putUrl({ sweep: props.value?.id || null });
  if (props.value?.show) window.rs.answered(element);
  load();
});
if (props.value?.id) load();
