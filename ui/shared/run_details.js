// The selected run below its line: its name, tags and note, kept as soon as they are changed; links, going on, deleting. dom.js comes first.
// `act` has say({run, field, value}), goOn(run), remove(run), and deletion(run), which promises {question, held}. `heard` takes their
// outcome: {run, done, error}.
const NOTE_MS = 700;

function runDetails(act, columns) {
  let row = null, before = null, timer = null, known = [];
  const said = h('span', { class: 'rd-said', role: 'status' }), undo = h('button', { type: 'button', class: 'rd-link', text: 'Undo', hidden: true });
  const name = h('input', { class: 'rd-name', maxlength: 80, autocomplete: 'off', 'aria-label': 'Name of the run' });
  const made = h('span', { class: 'rd-hint' }), usual = h('button', { type: 'button', class: 'rd-link', text: 'Use it' });
  const chips = h('span', { class: 'rd-chips' }), tag = h('input', { class: 'rd-tag', maxlength: 30, placeholder: 'Add a tag', 'aria-label': 'Add a tag', list: 'rd-known', autocomplete: 'off' });
  const others = h('datalist', { id: 'rd-known' });
  const note = h('textarea', { class: 'rd-note', maxlength: 2000, rows: 3, 'aria-label': 'Note on the run' });
  const gone = h('button', { type: 'button', class: 'rs-button', text: 'Delete…', onclick: () => sure() });
  const facts = h('p', { class: 'rd-facts' }), links = h('span', { class: 'rd-links' }), ask = h('div', { class: 'rd-ask', role: 'alertdialog', 'aria-label': 'Delete this run', hidden: true });
  const field = (label, ...parts) => h('div', { class: 'rd-field' }, h('span', { class: 'rs-label', text: label }), ...parts);
  const node = h('tr', { class: 'rd' }, h('td', { colspan: columns }, h('div', { class: 'rd-grid' },
    h('div', { class: 'rd-part' }, field('Name', name, h('span', { class: 'rd-line' }, made, usual)), field('Tags', h('span', { class: 'rd-line' }, chips, tag, others))),
    h('div', { class: 'rd-part' }, field('Note', note))), facts,
    h('div', { class: 'rd-foot' }, links, h('span', { class: 'rd-line' }, said, undo), gone), ask));

  const tell = (text, kind = '') => { said.textContent = text; said.dataset.kind = kind; };
  const value = (of) => (of === 'name' ? row.name : of === 'tags' ? row.tags : row.note);

  function send(of, now) {
    if (!row || JSON.stringify(now) === JSON.stringify(value(of))) return;
    before = { run: row.id, field: of, value: value(of) };
    undo.hidden = true;
    tell('Saving…');
    act.say({ run: row.id, field: of, value: now });
  }

  // ---- fields
  const nameNow = () => { const typed = name.value.trim().replace(/\s+/g, ' '); return row && typed === row.generated ? '' : typed; };
  name.onchange = () => send('name', nameNow());
  name.onkeydown = (event) => {
    if (event.key === 'Enter') { event.preventDefault(); send('name', nameNow()); }
    if (event.key === 'Escape' && row) { name.value = row.title; name.select(); }
  };
  usual.onclick = () => send('name', '');
  function add() {
    const typed = tag.value.split(',').map((one) => one.trim()).filter(Boolean);
    tag.value = '';
    if (row && typed.length) send('tags', [...row.tags, ...typed]);
  }
  tag.onkeydown = (event) => { if (event.key === 'Enter' || event.key === ',') { event.preventDefault(); add(); } };
  tag.onchange = add;
  const keepNote = () => { clearTimeout(timer); timer = null; send('note', note.value.trim()); };
  note.oninput = () => { clearTimeout(timer); timer = setTimeout(keepNote, NOTE_MS); undo.hidden = true; tell(''); };
  note.onchange = keepNote;
  window.addEventListener('pagehide', () => { if (timer !== null) keepNote(); });
  undo.onclick = () => { if (before && row && before.run === row.id) send(before.field, before.value); };

  // ---- what it shows
  function fill(anew) {
    const free = (input) => anew || document.activeElement !== input;
    if (free(name)) name.value = row.title;
    if (free(note) && timer === null) note.value = row.note;
    made.textContent = row.name ? `Generated: ${row.generated}` : 'Made from what tells it from other runs. Type another if you like.';
    usual.hidden = !row.name;
    chips.replaceChildren(...row.tags.map((one) => {
      const off = h('button', { type: 'button', 'aria-label': `Remove the tag ${one}`, title: 'Remove', text: '×' });
      off.onclick = () => send('tags', row.tags.filter((other) => other !== one));
      return h('span', { class: 'rh-tag' }, h('span', { text: one }), off);
    }));
    others.replaceChildren(...known.filter((one) => !row.tags.includes(one)).map((one) => h('option', { value: one })));
    facts.replaceChildren(...[row.message, row.cost && `Cost: ${row.cost}.`, `Id: ${row.id}`].filter(Boolean).map((text) => h('span', { text })));
  }

  function buttons() {
    const found = row.links.map(([text, href]) => h('a', { href, text }));
    if (row.goes_on) found.push(h('button', { type: 'button', class: 'rs-button', text: 'Go on', title: 'Queue it again; it goes on from what it kept', onclick: () => { tell('Queueing…'); act.goOn(row.id); } }));
    links.replaceChildren(...found);
  }

  async function sure() {
    const run = row.id, plan = await act.deletion(run);
    if (!row || row.id !== run) return;
    if (!plan?.ok) { tell(plan?.error || 'The app did not answer. Try again.', 'error'); return; }
    const close = h('button', { type: 'button', class: 'rs-button', text: plan.held ? 'Close' : 'Keep it', onclick: () => { ask.hidden = true; } });
    const go = h('button', { type: 'button', class: 'rs-button', 'data-kind': 'danger', text: 'Delete for good', onclick: () => { ask.hidden = true; tell('Deleting…'); act.remove(run); } });
    ask.replaceChildren(h('p', { text: plan.held || plan.question }), h('span', { class: 'rd-line' }, ...(plan.held ? [close] : [go, close])));
    ask.hidden = false;
    close.focus();
  }

  return {
    node,
    show(next, tags) {
      const other = !row || row.id !== next.id, same = row && JSON.stringify(row.links) === JSON.stringify(next.links) && row.goes_on === next.goes_on;
      if (other && row) { if (timer !== null) keepNote(); before = null; undo.hidden = true; tell(''); ask.hidden = true; }
      row = next;
      known = tags;
      fill(other);
      if (other || !same) buttons();
    },
    heard({ run, done, error }) {
      if (!row || run !== row.id) return false;
      tell(error || done, error ? 'error' : 'done');
      undo.hidden = Boolean(error) || !before;
      return true;
    },
    hide() { if (row && timer !== null) keepNote(); row = null; },
  };
}
