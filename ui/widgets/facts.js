// Facts of a dataset: value = {kpis: [{label, value, hint}], bars: [{title, items: [{label, n}]}], histograms: [{title, note, counts, labels}]}
const {el, count} = window.rs;
const SVG = 'http://www.w3.org/2000/svg';

function kpi({label, value, hint}) {
  return el('div', 'rs-kpi', null, {title: hint}, [el('b', '', value), el('span', '', label)]);
}
function bars({title, items}) {
  const most = Math.max(1, ...items.map(item => item.n));
  const lines = items.map(({label, n}) => {
    const bar = el('div', 'rs-bar', null, {}, [el('i')]);
    bar.firstChild.style.width = `${100 * n / most}%`;
    return el('div', 'rs-facts-line', null, {title: label}, [el('span', '', label), bar, el('span', '', count(n))]);
  });
  return el('figure', '', null, {}, [el('figcaption', '', title), ...lines]);
}
function histogram({title, note, counts, labels}) {
  const most = Math.max(1, ...counts), wide = 300 / Math.max(counts.length, 1);
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 300 96');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', `${title}, ${note}`);
  counts.forEach((n, index) => {
    const bar = document.createElementNS(SVG, 'rect'), tall = n ? Math.max(1.5, 94 * n / most) : 0;
    for (const [name, value] of Object.entries({x: index * wide + .5, y: 96 - tall, width: Math.max(wide - 1.5, .5), height: tall})) bar.setAttribute(name, value);
    const hint = document.createElementNS(SVG, 'title');
    hint.textContent = `${labels[index]} or more: ${count(n)} rows`;
    bar.append(hint);
    svg.append(bar);
  });
  const axis = el('div', 'rs-facts-axis', null, {}, labels.map(label => el('span', '', label)));
  axis.style.gridTemplateColumns = `repeat(${counts.length}, 1fr)`;
  return el('figure', '', null, {}, [el('figcaption', '', note ? `${title} (${note})` : title), svg, axis]);
}
function draw() {
  const {kpis = [], bars: groups = [], histograms = []} = props.value || {};
  element.querySelector('.rs-kpis').replaceChildren(...kpis.map(kpi));
  const charts = [...histograms.filter(({counts}) => counts.length).map(histogram), ...groups.filter(({items}) => items.length).map(bars)];
  element.querySelector('.rs-facts-charts').replaceChildren(...charts);
}
watch('value', draw);
draw();
