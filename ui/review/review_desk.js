// The reviewer's desk: who works in this browser, how, what others decide meanwhile, and a word when it is time for a break.
// Comes after dom.js and review_queue.js; `page` is what review_card.js lends: {$, data(), by(), send(kind, message), …}.
const NAME_KEY = 'rs-reviewer', PULSE_MS = 2500, LONG_MS = 50 * 60e3, PAUSE_MS = 5 * 60e3;
// Decisions that are not saved yet, for the case that the page is loaded anew: Gradio does so when the app was away and is back.
const unsaved = {
  keep(messages) { if (messages.length) sessionStorage.setItem('rs-unsaved', JSON.stringify(messages)); else sessionStorage.removeItem('rs-unsaved'); },
  // Those of this dataset, without what the log has after all: the answer may have been lost, not the decision.
  take(dataset, recent) {
    const known = (message) => recent.some((entry) => entry.row === message.row && entry.by === message.by && entry.action === message.action);
    return (readJson(sessionStorage.getItem('rs-unsaved'), []) || []).filter((message) => message.dataset === dataset && !known(message));
  },
};
const storedName = () => (localStorage.getItem(NAME_KEY) || '').trim();

// The form that asks for a name once; later changes are made in the habits dialog.
function makeNames(page) {
  const form = page.$('.rv-name'), field = form.querySelector('input');
  const keep = (name) => {
    const clean = name.trim().replace(/\s+/g, ' ').slice(0, 60);
    if (!clean) { field.focus(); return false; }
    localStorage.setItem(NAME_KEY, clean);
    form.hidden = true;
    page.renamed(clean);
    return true;
  };
  form.addEventListener('submit', (event) => { event.preventDefault(); if (keep(field.value)) field.blur(); });
  field.addEventListener('keydown', (event) => { if (event.key === 'Escape') field.blur(); });
  return {
    keep,
    draw() {
      form.hidden = Boolean(storedName());
      page.$('.rv-who').hidden = !form.hidden;
      field.value = field.value || (page.data().me === 'me' ? '' : page.data().me);
      page.$('.rv-who').textContent = `Reviewing as ${page.by()}`;
    },
  };
}

// How a person works: reveal by toggling or holding, breaks, batch size; a second person for this dataset.
function makeHabits(page, names) {
  const dialog = page.$('.rv-habits'), form = dialog.querySelector('form');
  const field = (label, input, hint) => h('label', { class: 'rv-habit' }, h('span', {}, label, hint ? h('small', { text: hint }) : null), input);
  const draw = () => {
    const { habits, approvals, checks } = page.data();
    const name = h('input', { type: 'text', name: 'name', maxlength: 60, autocomplete: 'off', 'aria-label': 'Your name' });
    name.value = page.by() === 'me' ? '' : page.by();
    const option = (value, text, chosen) => h('option', { value, text, selected: chosen });
    const reveal = h('select', { name: 'reveal', 'aria-label': 'Reveal a masked text' }, option('toggle', 'until I mask it again', habits.reveal === 'toggle'), option('hold', 'only while I hold R or the button', habits.reveal === 'hold'));
    const number = (key, label, least, most) => { const input = h('input', { type: 'number', name: key, min: least, max: most, step: 1, 'aria-label': label }); input.value = habits[key]; return input; };
    const mixed = h('input', { type: 'number', name: 'checks', min: 0, max: 100, step: 1, 'aria-label': 'Known harmful prompts in a random draw' });
    mixed.value = checks;
    const second = h('input', { type: 'checkbox', name: 'approvals', checked: approvals, 'aria-label': 'A second person must agree' });
    form.replaceChildren(
      h('div', { class: 'rs-spread' }, h('h2', { text: 'How you review' }), h('button', { type: 'button', class: 'rs-button', 'data-kind': 'quiet', text: 'Close', onclick: () => dialog.close() })),
      field('Your name', name, 'kept in this browser, written with each decision'),
      field('A masked text is shown', reveal),
      field('Propose a break after so many opened texts', number('nudge', 'Opened texts before a break', 0, 500), '0 for never'),
      field('Rows in a batch', number('size', 'Rows in a batch', 10, 200)),
      field('Known harmful prompts mixed into the next random draw', mixed, 'they measure what reviewers overlook; 0: the claim takes for granted that they overlook nothing'),
      field('A second person must agree before a flagged row counts as decided', second, 'for this dataset, for everybody; kept in the record'),
      h('div', {}, h('button', { type: 'submit', class: 'rs-button', 'data-kind': 'primary', text: 'Save' })));
  };
  form.addEventListener('submit', () => {
    const values = new FormData(form);
    if (String(values.get('name') || '').trim()) names.keep(String(values.get('name')));
    const changed = { reveal: values.get('reveal'), nudge: Number(values.get('nudge')), size: Number(values.get('size')) };
    Object.assign(page.data().habits, changed);
    const approvals = values.get('approvals') !== null, checks = Number(values.get('checks'));
    const message = { ...changed, ...(approvals === page.data().approvals ? {} : { approvals }), ...(checks === page.data().checks ? {} : { checks }) };
    page.data().checks = checks;
    page.data().approvals = approvals;
    page.send('habits', { ...message, dataset: page.data().dataset, by: page.by() });
  });
  return { open() { draw(); dialog.showModal(); dialog.querySelector('input')?.focus(); } };
}

// Counts opened texts and sends the count at most once a second; says when a break would do good.
function makeExposure(page) {
  const box = page.$('.rv-nudge');
  let today = 0, unsent = 0, timer = 0, began = Date.now(), last = Date.now();
  const draw = () => { page.$('.rv-opened').textContent = today ? `${number(today)} masked ${today === 1 ? 'text' : 'texts'} opened today` : ''; };
  const nudge = (text) => { box.querySelector('p').textContent = text; box.hidden = false; };
  const flush = () => { timer = 0; if (unsent) page.send('opened', { by: page.by(), texts: unsent }); unsent = 0; };
  box.querySelector('button').addEventListener('click', () => { box.hidden = true; began = Date.now(); });
  return {
    start(opened) { today = Math.max(opened, today); draw(); },
    one() {
      const before = today;
      today += 1;
      unsent += 1;
      timer = timer || setTimeout(flush, 1000);
      draw();
      const every = page.data().habits.nudge;
      if (nudgeDue(before, today, every)) nudge(`You have opened ${number(today)} masked texts today. Look at something else for some minutes: this row waits, and nothing is lost.`);
    },
    worked() {
      const now = Date.now();
      if (now - last > PAUSE_MS) began = now;
      last = now;
      if (page.data().habits.nudge && now - began > LONG_MS) { began = now; nudge('You have been deciding for fifty minutes. A short break keeps the last decisions as good as the first.'); }
    },
  };
}

// Asks every few seconds whether somebody else decided something; costs one look at the end of the log while nobody did.
function makePulse(page, ask, heard) {
  let timer = 0;
  const again = () => { clearTimeout(timer); timer = setTimeout(beat, PULSE_MS); };
  const beat = async () => {
    const data = page.data();
    if (!page.alive()) return;
    if (data && !document.hidden && !page.busy()) {
      const reply = await ask({ dataset: data.dataset, head: data.head, rows: page.rows() });
      if (reply && reply.ok && page.data() === data && !page.busy() && reply.head !== data.head) { data.head = reply.head; heard(reply); }
    }
    again();
  };
  document.addEventListener('visibilitychange', () => { if (!document.hidden && page.alive()) beat(); });
  again();
}

// The search field: digits go to that row; words list rows that hold them.
function makeFinder(page, openRow) {
  const go = page.$('.rv-go input'), found = page.$('.rv-found');
  let typing = 0;
  const close = () => { found.hidden = true; go.value = ''; go.blur(); };
  const line = (one) => h('li', {}, h('button', { type: 'button', onclick: () => { close(); openRow(one.row); } }, h('b', { text: number(one.row) }), h('span', { class: one.masked ? 'rs-masked' : '', text: one.prompt })));
  const find = async () => {
    const text = go.value.trim();
    found.hidden = !text || /^\d[\d,]*$/.test(text);
    if (found.hidden) return;
    const reply = await page.find({ dataset: page.data().dataset, search: text, mask: rs.masked });
    if (go.value.trim() !== text) return;
    const rows = reply && reply.ok ? reply.rows : [];
    found.replaceChildren(...rows.map(line));
    if (!rows.length) found.append(h('li', { class: 'cd-none', text: (reply && reply.error) || 'No row holds these words.' }));
  };
  go.addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(find, 200); });
  go.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') close();
    else if (event.key === 'ArrowDown' && !found.hidden) found.querySelector('button')?.focus();
    else if (event.key === 'Enter') {
      const digits = go.value.replace(/,/g, '').trim();
      if (/^\d+$/.test(digits)) { close(); openRow(Number(digits)); } else found.querySelector('button')?.click();
    } else return;
    event.preventDefault();
  });
}
