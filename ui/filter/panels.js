// One line of tabs over blocks that Python drew: the block of tab `name` has the id `panel-name`. value = JSON of [[name, title], …].
// The open one is in the address (?panel=). `rs:panel-mark` {name, kind, why} puts a dot on a tab.
const bar = element.querySelector('.pn-tabs');
let tabs = [];

function open(name, focus) {
  for (const [other] of tabs) {
    const block = document.getElementById(`panel-${other}`);
    if (!block) continue;
    block.style.display = other === name ? '' : 'none';
    block.setAttribute('role', 'tabpanel');
    block.setAttribute('aria-label', tabs.find(([one]) => one === other)[1]);
  }
  for (const tab of bar.children) {
    tab.setAttribute('aria-selected', String(tab.dataset.name === name));
    tab.tabIndex = tab.dataset.name === name ? 0 : -1;
    if (focus && tab.dataset.name === name) tab.focus();
  }
  putUrl({ panel: name === tabs[0][0] ? null : name });
  rs.emit('rs:panel', { name });
}

bar.addEventListener('keydown', (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const at = tabs.findIndex(([name]) => name === document.activeElement.dataset.name);
  open(tabs[(at + step + tabs.length) % tabs.length][0], true);
  event.preventDefault();
});
rs.on('rs:panel-mark', (event) => {
  const tab = [...bar.children].find((one) => one.dataset.name === event.detail.name);
  if (!tab) return;
  tab.querySelector('i')?.remove();
  tab.title = event.detail.why || '';
  if (event.detail.kind) tab.append(h('i', { 'data-kind': event.detail.kind, 'aria-label': event.detail.why }));
});
function draw() {
  const fresh = readJson(props.value, []) || [];
  element.querySelector('.pn').hidden = !fresh.length;
  const card = element.closest('.rs-card');
  if (card) card.style.display = fresh.length ? '' : 'none';
  for (const block of document.querySelectorAll('[id^="panel-"]')) if (!fresh.some(([name]) => `panel-${name}` === block.id)) block.style.display = 'none';
  if (JSON.stringify(fresh) === JSON.stringify(tabs)) return;
  tabs = fresh;
  if (!tabs.length) return;
  bar.replaceChildren(...tabs.map(([name, title]) => h('button', { type: 'button', role: 'tab', 'data-name': name, 'aria-controls': `panel-${name}`, text: title, onclick: () => open(name) })));
  const wanted = getUrl('panel');
  open(tabs.some(([name]) => name === wanted) ? wanted : tabs[0][0]);
}
watch('value', draw);
draw();
