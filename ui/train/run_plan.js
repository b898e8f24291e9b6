// What will run, in words and numbers. dom.js comes first. value = {title, text, kpis: [[label, value]],
// fit: [{what, text, kind, details}], remedies: [{act, text}], warnings: [{text, kind}], command, spec, from_spec}. Event "remedy" carries {act}.
const $ = (name) => element.querySelector(`.rp-${name}`);

for (const button of element.querySelectorAll('[data-copy]')) {
  const usual = button.textContent, shown = $(button.dataset.copy === 'spec' ? 'spec' : 'shell');
  button.onclick = async () => {
    try { await navigator.clipboard.writeText(shown.textContent); button.textContent = 'Copied'; } catch (error) {
      if (shown.parentElement.tagName === 'DETAILS') shown.parentElement.open = true;
      getSelection().selectAllChildren(shown);
      button.textContent = 'Selected: press Ctrl+C';
    }
    setTimeout(() => { button.textContent = usual; }, 1800);
  };
}

$('save').onclick = () => {
  const link = h('a', { download: 'spec.json' });
  link.href = URL.createObjectURL(new Blob([$('spec').textContent], { type: 'application/json' }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};

function draw() {
  const plan = props.value || {};
  $('title').textContent = plan.title || '';
  $('text').textContent = plan.text || '';
  $('kpis').replaceChildren(...(plan.kpis || []).map(([label, value]) => h('div', { class: 'rs-kpi' }, h('b', { text: value }), h('span', { text: label }))));
  $('fit').replaceChildren(...(plan.fit || []).map((one) => h('li', { 'data-kind': one.kind, title: one.details || '' }, h('b', { text: one.what }), h('span', { text: one.text }))));
  $('remedies').replaceChildren(...(plan.remedies || []).map((one) => {
    const button = h('button', { type: 'button', class: 'rs-button', 'data-act': one.act, text: one.text });
    button.onclick = () => trigger('remedy', { act: one.act });
    return button;
  }));
  $('warnings').replaceChildren(...(plan.warnings || []).map((note) => h('li', { 'data-kind': note.kind, text: note.text })));
  $('command').hidden = !plan.command;
  $('shell').textContent = plan.command || '';
  $('spec').textContent = plan.spec || '';
  $('from').textContent = plan.from_spec || '';
}

watch('value', draw);
draw();
