// What will run, in words and numbers. dom.js comes first. value = {title, text, memory, memory_details, kpis: [[label, value]], warnings: [{text, kind}], command}
const $ = (name) => element.querySelector(`.rp-${name}`);
const copy = element.querySelector('button');

copy.onclick = async () => {
  const text = element.querySelector('pre').textContent;
  try { await navigator.clipboard.writeText(text); copy.textContent = 'Copied'; } catch (error) {
    getSelection().selectAllChildren(element.querySelector('pre'));
    copy.textContent = 'Selected: press Ctrl+C';
  }
  setTimeout(() => { copy.textContent = 'Copy'; }, 1800);
};

function draw() {
  const plan = props.value || {};
  $('title').textContent = plan.title || '';
  $('text').textContent = plan.text || '';
  $('kpis').replaceChildren(...(plan.kpis || []).map(([label, value]) => h('div', { class: 'rs-kpi' }, h('b', { text: value }), h('span', { text: label }))));
  $('memory').hidden = !plan.memory;
  $('memory').textContent = plan.memory || '';
  $('memory').title = plan.memory_details || '';
  $('warnings').replaceChildren(...(plan.warnings || []).map((note) => h('li', { 'data-kind': note.kind, text: note.text })));
  $('command').hidden = !plan.command;
  element.querySelector('pre').textContent = plan.command || '';
}

watch('value', draw);
draw();
