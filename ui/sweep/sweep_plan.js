// What a recipe would do, or what is wrong with it. dom.js comes first.
// value = {kpis: [[value, label, hint]], told: [{text, kind}], note, text, file} or null: nothing is known yet.
const $ = (selector) => element.querySelector(selector);

$('.sp-foot button').onclick = () => {
  const { text, file } = props.value;
  const link = h('a', { download: file, href: URL.createObjectURL(new Blob([text], { type: 'application/yaml' })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};

function draw() {
  const { kpis = [], told = [], note = '', text = '', file = '' } = props.value || {};
  $('.rs-kpis').replaceChildren(...kpis.map(([value, label, hint]) => h('div', { class: 'rs-kpi', title: hint }, h('b', { text: value }), h('span', { text: label }))));
  $('.sp-told').replaceChildren(...told.map((one) => h('li', { 'data-kind': one.kind, text: one.text })));
  $('.sp-note').hidden = !note;
  $('.sp-note').textContent = note;
  $('.sp-foot').hidden = !text;
  $('.sp-foot code').textContent = `python launch.py sweep ${file}`;
}

watch('value', draw);
draw();
