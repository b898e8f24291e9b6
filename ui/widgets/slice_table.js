// Flagged rows by origin at the line's position. value = JSON of {dataset, key, threshold}; server: srv_slices.
const panel = element.querySelector('.sl'), body = element.querySelector('tbody');
let data = null, waiting = 0;

function line(slice) {
  const interval = wilson(slice.flagged, slice.rows), share = slice.rows ? slice.flagged / slice.rows : 0;
  const bar = h('div', { class: 'sl-bar' }, h('i', { style: `width:${(100 * share).toFixed(2)}%` }),
    interval && h('b', { style: `left:${(100 * interval[0]).toFixed(2)}%;width:${(100 * (interval[1] - interval[0])).toFixed(2)}%` }));
  const said = interval ? `${percent(share)} (${(100 * interval[0]).toFixed(1)} to ${(100 * interval[1]).toFixed(1)})` : 'n/a';
  return h('tr', {}, h('td', { class: 'text', text: slice.origin || 'not given' }), h('td', { class: 'num', text: number(slice.rows) }),
    h('td', { class: 'num', text: number(slice.flagged) }), h('td', {}, h('div', { class: 'sl-share' }, bar, h('span', { text: said }))));
}

const hide = (hidden) => { element.closest('.block').hidden = panel.hidden = hidden; };
const load = lastWins(async (t) => {
  const asked = data;
  const reply = await server.srv_slices({ dataset: asked.dataset, key: asked.key, t });
  if (asked !== data) return;
  hide(!(reply && reply.ok && reply.slices.length > 1));
  if (!panel.hidden) body.replaceChildren(...reply.slices.map(line));
});

// A moment after the line rests: the rows of the table come first.
rs.on('rs:threshold', (event) => {
  if (!data || event.detail.key !== data.key || event.detail.dataset !== data.dataset) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => load(event.detail.t), 120);
});
function draw() {
  data = readJson(props.value, null);
  if (data) load(data.threshold); else hide(true);
}
watch('value', draw);
draw();
