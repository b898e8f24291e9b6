// Methods as cards, several may be chosen. dom.js and marks.js come first.
// props.cards = [{name, title, summary, facts, colour, shape}]; value = the chosen names; event "choose".
const box = element.querySelector('.mc');

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

function draw() {
  if (!box.children.length) box.append(...props.cards.map(card));
  for (const node of box.children) node.setAttribute('aria-checked', String((props.value || []).includes(node.dataset.method)));
}

watch('value', draw);
draw();
