// window.rs: what every widget shares. Text reaches the page by textContent only.
(() => {
  if (window.rs) return;
  const keys = new Map(), PATIENCE = 15000;
  const typing = target => !!target?.closest?.('input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable="true"]');

  let pressed = -Infinity;

  const rs = {
    masked: true, keysOn: true, state: null,
    // rs.el('div', 'rs-card', 'text or null', {attribute: value}, [children])
    el(tag, className = '', text = null, attributes = {}, children = []) {
      const node = document.createElement(tag);
      if (className) node.className = className;
      if (text !== null && text !== undefined) node.textContent = text;
      for (const [name, value] of Object.entries(attributes)) {
        if (value === true) node.setAttribute(name, '');
        else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
      }
      node.append(...children);
      return node;
    },
    emit(name, detail = {}) { window.dispatchEvent(new CustomEvent(name, {detail})); },
    on(name, listener) { window.addEventListener(name, listener); },
    // Brings the answer to what somebody just pressed into view; an answer nobody waits for moves nothing.
    answered(node) {
      if (performance.now() - pressed > PATIENCE) return;
      pressed = -Infinity;
      requestAnimationFrame(() => requestAnimationFrame(() => node.scrollIntoView({block: 'nearest'}))); // once what came with it is drawn
    },
    // One shortcut. key is event.key ('1', 'z', 'Z', '?', 'ArrowDown', 'ctrl+Enter'); the help lists what was registered.
    key(key, label, run) { keys.set(key, {label, run}); },
    shortcuts: () => [...keys].map(([key, {label}]) => ({key, label})),
    count: n => Number(n).toLocaleString('en-GB'),
    theme(choice) {
      if (choice) localStorage.setItem('rs-theme', choice);
      const wanted = localStorage.getItem('rs-theme') || 'system';
      const asked = new URL(location.href).searchParams.get('__theme');
      const dark = choice || !asked ? wanted === 'dark' || (wanted === 'system' && matchMedia('(prefers-color-scheme: dark)').matches) : asked === 'dark';
      document.body.classList.toggle('dark', dark);
      rs.emit('rs:theme', {dark, choice: wanted});
      return wanted;
    },
    get dark() { return document.body.classList.contains('dark'); },
  };
  window.rs = rs;
  rs.theme();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => rs.theme());

  const press = () => { pressed = performance.now(); };
  document.addEventListener('click', press, true);
  document.addEventListener('change', press, true);
  document.addEventListener('keydown', event => { if (event.key === 'Enter') press(); }, true);
  document.addEventListener('keydown', event => {
    if (event.defaultPrevented || event.altKey || event.metaKey) return;
    const found = keys.get((event.ctrlKey ? 'ctrl+' : '') + event.key);
    if (!found) return;
    if (!event.ctrlKey && (!rs.keysOn || typing(event.target) || event.target.closest?.('dialog[open]'))) return;
    event.preventDefault();
    found.run(event);
  });
  document.addEventListener('focusin', event => rs.emit('rs:typing', {typing: typing(event.target)}));
  document.addEventListener('focusout', () => rs.emit('rs:typing', {typing: false}));
})();
