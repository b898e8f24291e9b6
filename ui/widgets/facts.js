// Facts of a dataset: value = {kpis: [{label, value, hint, kind}], bars: [{title, note, facet, items: [{label, n, pick}]}],
// histograms: [{title, note, counts, labels, mark: {at, text}}], strips: [{title, facet, parts: [{label, n, kind, pick}]}], chosen: ['facet:label']}.
// Items and parts with `pick` are buttons; event 'pick' {facet, label}.
const {el, count} = window.rs;
const SVG = 'http://www.w3.org/2000/svg';

function kpi({label, value, hint, kind}) {
  return el('div', 'rs-kpi', null, {title: hint, 'data-kind': kind}, [el('b', '', value), el('span', '', label)]);
}
function share(n, all) {
  const percent = 100 * n / Math.max(all, 1);
  return n && percent < .1 ? '< 0.1 %' : n < all && percent > 99.9 ? '> 99.9 %' : `${percent.toFixed(percent < 10 || percent > 90 && percent < 100 ? 1 : 0)} %`;
}
function picks(node, facet, label) {
  node.addEventListener('click', () => trigger('pick', {facet, label}));
  return node;
}
function strip({title, facet, parts}, chosen) {
  const all = parts.reduce((sum, part) => sum + part.n, 0);
  const bar = el('div', 'rs-facts-strip', null, {role: 'img', 'aria-label': `${title}: ${parts.map(({label, n}) => `${count(n)} ${label}`).join(', ')}`});
  const legend = el('div', 'rs-facts-legend');
  for (const {label, n, kind, pick} of parts) {
    if (n) {
      const piece = el('i', '', null, {'data-kind': kind, title: `${label}: ${count(n)} (${share(n, all)})`});
      piece.style.flexGrow = n;
      bar.append(piece);
    }
    const inside = [el('i', '', null, {'data-kind': kind}), el('b', '', count(n)), el('span', '', ` ${label} `), el('em', '', n && n < all ? share(n, all) : '')];
    const can = facet && pick !== undefined && n > 0;
    const name = el(can ? 'button' : 'span', n ? '' : 'none', null, can ? {type: 'button', title: `${label}: show these rows`, 'aria-pressed': String(chosen.includes(`${facet}:${pick}`))} : {}, inside);
    legend.append(can ? picks(name, facet, pick) : name);
  }
  return el('div', 'rs-facts-row', null, {}, [el('span', 'rs-label', title), el('div', '', null, {}, [bar, legend])]);
}
function bars({title, note, facet, items}, chosen) {
  const most = Math.max(1, ...items.map(item => item.n));
  const lines = items.map(({label, n, pick}) => {
    const bar = el('span', 'rs-bar', null, {}, [el('i')]);
    bar.firstChild.style.width = `${100 * n / most}%`;
    const name = `${facet}:${pick}`, can = facet && pick !== undefined;
    const line = el(can ? 'button' : 'div', 'rs-facts-line', null, {title: can ? `${label}: show these rows` : label, type: can ? 'button' : null,
      'aria-pressed': can ? String(chosen.includes(name)) : null}, [el('span', '', label), bar, el('span', '', count(n))]);
    return can ? picks(line, facet, pick) : line;
  });
  return el('figure', '', null, {}, [el('figcaption', '', title, {}, note ? [el('small', '', note)] : []), ...lines]);
}
function shape(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}
function histogram({title, note, counts, labels, mark}) {
  const most = Math.max(1, ...counts), wide = 300 / Math.max(counts.length, 1);
  const svg = shape('svg', {viewBox: '0 0 300 96', preserveAspectRatio: 'none', role: 'img', 'aria-label': `${title}, ${note}`});
  counts.forEach((n, index) => {
    const tall = n ? Math.max(1.5, 94 * n / most) : 0;
    const bar = shape('rect', {x: index * wide + .5, y: 96 - tall, width: Math.max(wide - 1.5, .5), height: tall});
    const hint = shape('title', {});
    hint.textContent = `${labels[index]} or more: ${count(n)} rows`;
    bar.append(hint);
    svg.append(bar);
  });
  const place = el('div', 'rs-facts-plot', null, {}, [svg]);
  if (mark && mark.at <= counts.length) {
    const line = el('div', 'rs-facts-mark', null, {}, [el('span', '', mark.text)]);
    line.style.left = `${100 * mark.at / counts.length}%`;
    if (mark.at > counts.length / 2) line.dataset.side = 'left';
    place.append(line);
  }
  const every = Math.ceil(counts.length / 6);
  const axis = el('div', 'rs-facts-axis', null, {}, labels.map((label, index) => el('span', '', index % every ? '' : label)));
  axis.style.gridTemplateColumns = `repeat(${counts.length}, 1fr)`;
  return el('figure', '', null, {}, [el('figcaption', '', title, {}, note ? [el('small', '', note)] : []), place, axis]);
}
function draw() {
  const {kpis = [], bars: groups = [], histograms = [], strips = [], chosen = []} = props.value || {};
  element.querySelector('.rs-kpis').replaceChildren(...kpis.map(kpi));
  element.querySelector('.rs-facts-strips').replaceChildren(...strips.map(one => strip(one, chosen)));
  const plots = histograms.filter(({counts}) => counts.length).map(histogram);
  const groupsShown = groups.filter(({items}) => items.length).map(group => bars(group, chosen));
  element.querySelector('.rs-facts-charts').replaceChildren(...plots, ...groupsShown);
}
watch('value', draw);
draw();
