// Says when the tab Outcome needs its numbers: opened with other scores than before, another theme, a run that has ended.
// value = JSON of {dataset, key, threshold}; the event "opened" carries {dataset, key, dark}. dom.js comes first.
let open = new URL(location.href).searchParams.get('panel') === 'outcome', told = '';
element.closest('.block').hidden = true;

function tell(again) {
  const where = readJson(props.value, null), now = `${props.value} ${window.rs.dark}`;
  if (!open || !where || (!again && now === told)) return;
  told = now;
  trigger('opened', { dataset: where.dataset, key: where.key, dark: window.rs.dark });
}

window.rs.on('rs:panel', (event) => { open = event.detail.name === 'outcome'; tell(false); });
window.rs.on('rs:theme', () => tell(false));
window.rs.on('rs:outcome', () => tell(true));
watch('value', () => tell(false));
tell(false);
