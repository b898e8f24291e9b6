// Methods as cards, several may be chosen. dom.js and marks.js come first.
// props.cards = [{name, title, summary, facts, colour, shape, group, open}]; value = the chosen names; event "choose".
const box = element.querySelector('.mc-groups');

function toggle(name) {
  const now = props.value || [];
  const next = now.includes(name) ? now.filter((one) => one !== name) : [...now, name];
  props.value = props.cards.map((card) => card.name).filter((one) => next.includes(one));
  draw();
  trigger('choose', {});
}

function tick() {
  return svg('svg', { viewBox: '0 0 12 12', width: 11, height: 11 }, svg('path', { d: 'M2 6.4l2.6 2.6L10 3.4', fill: 'none', stroke: 'currentColor', 'stroke-width': 2 }));
}

function card(entry) {
  const node = h('button', { type: 'button', class: 'mc-card', role: 'checkbox', 'data-method': entry.name });
  node.append(
    h('span', { class: 'mc-head' }, mark(entry.colour, entry.shape, 13), h('span', { text: entry.title }), h('span', { class: 'mc-tick' }, tick())),
    h('span', { class: 'mc-text', text: entry.summary }),
    h('span', { class: 'mc-facts' }, ...entry.facts.map((fact) => h('span', { text: fact }))));
  node.onclick = () => toggle(entry.name);
  return node;
}

// One section for each group, in the order in which they come; one that holds a chosen method is open at first.
function section(title) {
  const cards = props.cards.filter((entry) => entry.group === title);
  const count = h('span', { class: 'mc-count' });
  const node = h('details', { class: 'mc-group' }, h('summary', {}, h('span', { class: 'mc-title', text: title }), count), h('div', { class: 'mc' }, ...cards.map(card)));
  node.open = cards.some((entry) => entry.open || (props.value || []).includes(entry.name));
  node.tell = () => {
    const chosen = cards.filter((entry) => (props.value || []).includes(entry.name)).length;
    count.textContent = chosen ? `${chosen} of ${cards.length} chosen` : `${cards.length}`;
  };
  return node;
}

function draw() {
  if (!box.children.length) box.append(...[...new Set(props.cards.map((entry) => entry.group))].map(section));
  for (const node of box.querySelectorAll('.mc-card')) node.setAttribute('aria-checked', String((props.value || []).includes(node.dataset.method)));
  for (const node of box.children) node.tell();
}

watch('value', draw);
draw();
