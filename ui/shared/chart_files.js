// The numbers of a chart as CSV, and the chart as PNG and SVG, made in this browser. props.plot is the id of the chart's block;
// value = {name, csv} or null: nothing to save. dom.js comes first.
const box = element.querySelector('.cf'), buttons = element.querySelector('.cf-buttons'), line = element.querySelector('.cf-name');

function save(href, ending) {
  const link = h('a', { href, download: `${props.value.name}.${ending}` });
  document.body.append(link);
  link.click();
  link.remove();
}

function table() {
  const address = URL.createObjectURL(new Blob(['\ufeff', props.value.csv], { type: 'text/csv;charset=utf-8' }));
  save(address, 'csv');
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

// On the ground of its card: on the page the chart is transparent, and its light text would vanish on a white sheet.
async function picture(format) {
  const drawn = document.querySelector(`#${props.plot} .js-plotly-plot`);
  if (!drawn || !window.Plotly) { line.textContent = 'The chart is not drawn yet.'; return; }
  line.textContent = '';
  const ground = getComputedStyle(element).getPropertyValue('--rs-card').trim() || '#ffffff';
  const layout = { ...drawn.layout, paper_bgcolor: ground, plot_bgcolor: ground };
  const size = { width: drawn.clientWidth, height: drawn.clientHeight, scale: 2 };
  try { save(await window.Plotly.toImage({ data: drawn.data, layout }, { format, ...size }), format); } catch (error) { line.textContent = 'The picture could not be made in this browser.'; }
}

for (const [ending, make] of [['csv', table], ['png', () => picture('png')], ['svg', () => picture('svg')]]) {
  buttons.append(h('button', { type: 'button', class: 'rs-button', 'data-file': ending, 'aria-label': `Save as ${ending.toUpperCase()}`, text: ending.toUpperCase(), onclick: make }));
}

function draw() { box.hidden = !props.value?.csv; }
watch('value', draw);
draw();
