// The methods of a recipe, each with its filters and settings. dom.js and marks.js come first.
// props.methods = [{name, title, colour, shape, filters, settings: [[name, default]]}], props.filters = [[name, title]];
// value = {rows: [{method, filter: [name], config: {name: text}, rest}]}; event "edit" when somebody changed it.
const list = element.querySelector('.sm-rows'), none = element.querySelector('.sm-none'), add = element.querySelector('.sm-add select');
const known = new Map(props.methods.map((one) => [one.name, one]));
const titles = new Map(props.filters);
let rows = [];

function edited() {
  props.value = { rows };
  trigger('edit', {});
}

function filterOf(row) {
  const summary = h('summary', { 'aria-label': 'Filters' });
  const tell = () => { summary.textContent = summary.title = `Filter: ${row.filter.map((name) => titles.get(name) || name).join(', ')}`; };
  const joined = row.filter.filter((name) => !titles.has(name)).map((name) => [name, name]);
  const boxes = [...props.filters, ...joined].map(([name, title]) => {
    const box = h('input', { type: 'checkbox', value: name });
    box.checked = row.filter.includes(name);
    box.onchange = () => {
      const chosen = box.checked ? [...row.filter, name] : row.filter.filter((one) => one !== name);
      row.filter = chosen.length ? chosen : ['own'];
      for (const one of node.querySelectorAll('input')) one.checked = row.filter.includes(one.value);
      tell();
      edited();
    };
    return h('label', {}, box, h('span', { text: title }));
  });
  const node = h('details', { class: 'sm-filter' }, summary, h('div', { class: 'sm-menu' }, ...boxes));
  node.addEventListener('keydown', (event) => { if (event.key === 'Escape') { node.open = false; summary.focus(); } });
  tell();
  return node;
}

function settingOf(row, name, usual) {
  const box = h('input', { type: 'text', value: row.config[name] || '', placeholder: usual || 'usual', 'aria-label': `${name}, values with commas between` });
  box.oninput = () => {
    if (box.value.trim()) row.config[name] = box.value;
    else delete row.config[name];
    edited();
  };
  return h('label', {}, h('span', { text: name }), box);
}

function line(row) {
  const method = known.get(row.method) || { title: row.method, colour: 'var(--rs-base)', shape: 'hexagon', settings: [] };
  const others = Object.keys(row.config).filter((name) => !method.settings.some(([one]) => one === name)).map((name) => [name, '']);
  const drop = h('button', { type: 'button', class: 'sm-drop', text: '×', title: 'Leave it out', 'aria-label': `Leave out ${method.title}` });
  drop.onclick = () => { rows = rows.filter((one) => one !== row); draw(); edited(); };
  const rest = Object.entries(row.rest || {}).map(([name, value]) => `${name}: ${[value].flat().join(', ')}`).join('; ');
  return h('li', { class: 'sm-row', 'data-method': row.method },
    h('span', { class: 'sm-name' }, mark(method.colour, method.shape, 13), h('span', { text: method.title })),
    filterOf(row), h('span', { class: 'sm-settings' }, ...[...method.settings, ...others].map(([name, usual]) => settingOf(row, name, usual))), drop,
    rest && h('span', { class: 'sm-rest', text: rest }));
}

function draw() {
  list.replaceChildren(...rows.map(line));
  none.hidden = rows.length > 0;
}

add.append(h('option', { value: '', text: 'Choose …' }), ...props.methods.map((one) => h('option', { value: one.name, text: one.title })));
add.onchange = () => {
  if (!add.value) return;
  rows = [...rows, { method: add.value, filter: ['own'], config: {}, rest: {} }];
  add.value = '';
  draw();
  edited();
};
document.addEventListener('click', (event) => {
  for (const open of list.querySelectorAll('details[open]')) if (!event.composedPath().includes(open)) open.open = false;
});

function taken() {
  rows = JSON.parse(JSON.stringify(props.value?.rows || []));
  draw();
}
watch('value', taken);
taken();
