// What is known about the chosen teacher: AUROC by layer with the chosen layer marked, facts, the separation map, the λ that were tried.
const $ = (selector) => element.querySelector(selector);
const card = $('.tc'), host = $('.tc-plot');
const SIZE = { height: 190, left: 60, right: 16, top: 22, bottom: 36 };
let data = null, drawn = 0;

// The lowest round AUROC below all points, so that the differences between good layers can be seen.
const floorOf = (values) => Math.max(0, Math.min(0.9, Math.floor(10 * Math.min(...values)) / 10));

function plot() {
  const width = Math.max(220, host.clientWidth), values = data.layers.map(([, auroc]) => auroc), low = floorOf(values);
  const first = data.layers[0][0], last = data.layers[data.layers.length - 1][0], span = Math.max(1, last - first);
  const x = (layer) => (first === last ? (SIZE.left + width - SIZE.right) / 2 : SIZE.left + ((layer - first) / span) * (width - SIZE.left - SIZE.right));
  const y = (auroc) => SIZE.height - SIZE.bottom - ((auroc - low) / (1 - low)) * (SIZE.height - SIZE.top - SIZE.bottom);
  const root = svg('svg', { width, height: SIZE.height, role: 'img', 'aria-label': data.alt });
  for (const tick of [low, (low + 1) / 2, 1]) {
    root.append(svg('line', { class: 'tc-grid', x1: SIZE.left, x2: width - SIZE.right, y1: y(tick), y2: y(tick) }),
      svg('text', { class: 'tc-tick', x: SIZE.left - 9, y: y(tick) + 4, 'text-anchor': 'end', text: tick.toFixed(2) }));
  }
  const every = Math.max(1, Math.ceil(data.layers.length / 12));
  data.layers.forEach(([layer], place) => {
    if (place % every === 0) root.append(svg('text', { class: 'tc-tick', x: x(layer), y: SIZE.height - SIZE.bottom + 16, 'text-anchor': 'middle', text: `${layer}` }));
  });
  root.append(svg('text', { class: 'tc-tick', x: (SIZE.left + width - SIZE.right) / 2, y: SIZE.height - 3, 'text-anchor': 'middle', text: 'decoder block' }),
    svg('text', { class: 'tc-tick', transform: `translate(10 ${(SIZE.top + SIZE.height - SIZE.bottom) / 2}) rotate(-90)`, 'text-anchor': 'middle', text: 'AUROC' }),
    svg('path', { class: 'tc-curve', d: data.layers.map(([layer, auroc], place) => `${place ? 'L' : 'M'}${x(layer).toFixed(1)} ${y(auroc).toFixed(1)}`).join('') }));
  for (const [layer, auroc] of data.layers) root.append(svg('circle', { class: 'tc-dot', r: 2.5, cx: x(layer), cy: y(auroc) }));
  const chosen = data.layers.find(([layer]) => layer === data.layer);
  if (chosen) {
    const left = x(chosen[0]), end = left > width * 0.7 ? 'end' : left < width * 0.3 ? 'start' : 'middle';
    root.append(svg('line', { class: 'tc-mark', x1: left, x2: left, y1: SIZE.top - 6, y2: SIZE.height - SIZE.bottom }),
      svg('circle', { class: 'tc-chosen', r: 5.5, cx: left, cy: y(chosen[1]) }),
      svg('text', { class: 'tc-name', x: left, y: SIZE.top - 11, 'text-anchor': end, text: `block ${chosen[0]} chosen: ${chosen[1].toFixed(4)}` }));
  }
  host.replaceChildren(root);
}

// AUROC by block (upwards) and token position (towards the end of the prompt); the cell in use is outlined.
function cells() {
  const found = data.map, grid = $('.tc-cells'), width = Math.max(260, grid.clientWidth);
  const rows = found.layers.length, columns = found.positions.length, tall = Math.max(9, Math.min(30, Math.floor(300 / rows)));
  const left = 60, top = 6, wide = Math.min(86, (width - left - 12) / columns), height = top + rows * tall + 40, numbers = tall >= 20 && wide >= 36;
  const order = found.positions.map((_, place) => place).reverse();
  const root = svg('svg', { width, height, role: 'img', 'aria-label': found.caption });
  found.layers.forEach((layer, row) => {
    const y = top + (rows - 1 - row) * tall;
    order.forEach((place, column) => {
      const auroc = found.auroc[row][place], x = left + column * wide, share = auroc === null ? 0 : Math.min(1, Math.max(0, 2 * auroc - 1));
      const box = { x: x + 1, y: y + 1, width: wide - 2, height: tall - 2, rx: 2 };
      const told = `block ${layer}, position ${found.positions[place]}: ${auroc === null ? 'too few prompts have this token' : auroc.toFixed(4)}`;
      root.append(svg('rect', { ...box, class: auroc === null ? 'tc-none' : 'tc-cell', 'fill-opacity': (0.05 + 0.95 * share * share).toFixed(3) }, svg('title', { text: told })));
      if (numbers && auroc !== null) root.append(svg('text', { class: 'tc-figure', 'data-strong': share > 0.87, x: x + wide / 2, y: y + tall / 2 + 4, 'text-anchor': 'middle', text: auroc.toFixed(auroc > 0.9995 ? 2 : 3) }));
      if (layer === found.layer && found.positions[place] === found.position) root.append(svg('rect', { ...box, class: 'tc-frame' }));
    });
    if (row % Math.max(1, Math.ceil(rows / 12)) === 0) root.append(svg('text', { class: 'tc-tick', x: left - 8, y: y + tall / 2 + 4, 'text-anchor': 'end', text: `${layer}` }));
  });
  order.forEach((place, column) => root.append(svg('text', { class: 'tc-tick', x: left + (column + 0.5) * wide, y: top + rows * tall + 15, 'text-anchor': 'middle', text: found.positions[place] === -1 ? 'last' : `\u2212${-found.positions[place]}` })));
  root.append(svg('text', { class: 'tc-tick', x: left + (columns * wide) / 2, y: height - 4, 'text-anchor': 'middle', text: 'token of the prompt, from its end' }),
    svg('text', { class: 'tc-tick', transform: `translate(14 ${top + (rows * tall) / 2}) rotate(-90)`, 'text-anchor': 'middle', text: 'block' }));
  grid.replaceChildren(root);
}

function sweep() {
  $('.tc-sweep').hidden = !data.sweep.length;
  const cells = (tag, values) => values.map((value, place) => h(tag, { class: place ? 'num' : null, text: value }));
  $('.tc-sweep thead').replaceChildren(h('tr', {}, ...cells('th', ['λ', 'AUROC', 'Recall', 'False positives', 'Held-out cross entropy'])));
  $('.tc-sweep tbody').replaceChildren(...data.sweep.map((line) => h('tr', { 'data-kept': line.kept }, ...cells('td', line.cells))));
}

function draw() {
  data = readJson(props.value, null);
  element.closest('.block').hidden = card.hidden = !data;
  if (!data) return;
  $('.tc h2').textContent = data.heading;
  $('.tc-title').textContent = data.title;
  $('.tc-level').hidden = data.level.word === 'unknown';
  $('.tc-level').textContent = data.level.sentence;
  $('.tc-level').dataset.kind = { weak: 'warn', unusable: 'flag' }[data.level.word] || '';
  $('.tc-caption').textContent = data.caption;
  $('.tc-layers').hidden = !data.layers.length;
  $('.tc-facts').replaceChildren(...data.facts.flatMap(([name, value]) => [h('dt', { text: name }), h('dd', { text: value })]));
  $('.tc-map').hidden = !data.map;
  $('.tc-map-note').hidden = !data.map_note;
  $('.tc-map-note').textContent = data.map_note || '';
  $('.tc-map-offer').hidden = !data.map_offer;
  sweep();
  redraw();
}

function redraw() {
  if (data.layers.length) plot();
  if (data.map) { $('.tc-map-caption').textContent = data.map.caption; cells(); }
  drawn = card.clientWidth;
}

$('.tc-map-offer button').addEventListener('click', () => trigger('positions', { teacher: data.map_offer }));
new ResizeObserver(() => { if (data && card.clientWidth !== drawn) redraw(); }).observe(card);
watch('value', draw);
draw();
