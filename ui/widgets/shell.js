// The frame of every page. The server tells the state; nothing here decides anything.
// Events for Python: 'mask'. Events for the page: rs:state (new state), rs:changed (a job went on; another dataset, threshold or mask),
// rs:mask (switch turned), rs:refresh (ask again).
const slot = name => element.querySelector(`[data-slot="${name}"]`);
const tool = name => element.querySelector(`[data-tool="${name}"]`);
const IDLE = 8000, BUSY = 2000;
let timer = null, work = '', heard = false;
const others = new BroadcastChannel('rs');  // the other tabs of this workspace

const put = (name, text) => {
  const node = slot(name);
  node.hidden = !text;
  (node.querySelector('b') || node).textContent = text || '';
};

function jobs(state) {
  const [first] = state.running;
  if (!first) return state.queued ? `${state.queued} waiting` : '';
  const share = first.total ? ` ${Math.floor(100 * first.done / first.total)} %` : '';
  return first.title + share + (state.queued ? `, ${state.queued} waiting` : '');
}

function draw(state) {
  const name = state.dataset ? `${state.dataset.name}, ${state.dataset.rows} ${state.dataset.rows === '1' ? 'row' : 'rows'}` : 'none yet';
  slot('dataset').querySelector('b').textContent = name;
  slot('dataset').querySelector('b').removeAttribute('aria-busy');
  slot('dataset').title = state.dataset ? `${name}, id ${state.dataset.id}` : 'No dataset yet';
  put('threshold', state.teacher && state.threshold !== '–' ? state.threshold + (state.frozen ? ', frozen' : '') : '');
  put('jobs', jobs(state));
  slot('lab').hidden = !state.lab;
  slot('example').hidden = !state.example;
  slot('example').textContent = state.example ? `Example of ${state.example}` : '';
  slot('device').textContent = state.device;
  slot('held').textContent = state.held;
  slot('reviewer').textContent = state.reviewer ? `Reviewer: ${state.reviewer}` : '';
  tool('mask').setAttribute('aria-checked', String(state.masked));
  window.rs.masked = state.masked;
  window.rs.keysOn = state.keys;
  const next = slot('next'), link = next.querySelector('a');
  const path = state.next.page === 'home' ? '/' : `/${state.next.page}`;
  next.hidden = !state.next.text;
  next.querySelector('b').textContent = state.next.title;
  next.querySelector('span').textContent = state.next.text;
  link.href = path;
  link.textContent = state.next.action || 'Open';
  link.hidden = !state.next.page || state.next.page === props.value.page;
  for (const [page, kind] of Object.entries(state.dots || {})) {
    const dot = element.querySelector(`[data-dot="${page}"]`);
    if (!dot) continue;
    dot.dataset.state = kind;
    dot.title = {empty: 'not started', busy: 'in progress', done: 'done'}[kind] || '';
  }
  window.rs.state = state;
  window.rs.emit('rs:state', state);
}

async function refresh(dots) {
  clearTimeout(timer);
  if (document.hidden) return schedule(IDLE);
  const reply = await server.srv_state({dots});
  if (!reply || !reply.ok) return schedule(IDLE);
  draw(reply.state);
  const {running, queued, dataset, teacher, key, threshold, masked} = reply.state;
  const now = JSON.stringify([running.map(({title, stage}) => [title, stage]), queued, dataset?.id, teacher, key, threshold, masked]);
  const changed = now !== work, first = work === '';
  work = now;
  if (changed && !first) window.rs.emit('rs:changed');
  if (changed && !first && !heard) others.postMessage('changed');
  heard = false;
  if (changed && !dots) return refresh(true);  // a job went on, so the dots may have moved
  schedule(running.length || queued ? BUSY : IDLE);
}
function schedule(wait) {
  clearTimeout(timer);
  timer = setTimeout(() => refresh(false), wait);
}

function toggleMask() {
  window.rs.masked = !window.rs.masked;
  tool('mask').setAttribute('aria-checked', String(window.rs.masked));
  trigger('mask', {masked: window.rs.masked});
}
const SIGNS = {ArrowDown: '↓', ArrowUp: '↑', ArrowLeft: '←', ArrowRight: '→'};
function help() {
  const dialog = slot('help'), byLabel = new Map();
  for (const {key, label} of window.rs.shortcuts()) byLabel.set(label, [...(byLabel.get(label) || []), key]);
  const rows = [...byLabel].flatMap(([label, keys]) => {
    const shown = keys.map(key => window.rs.el('kbd', 'rs-key', SIGNS[key] || key.replace('ctrl+', 'Ctrl ')));
    return [window.rs.el('dt', '', null, {}, shown), window.rs.el('dd', '', label)];
  });
  dialog.querySelector('dl').replaceChildren(...rows);
  dialog.showModal();
}

document.title = `${element.querySelector('.rs-nav-link[aria-current]')?.firstChild.textContent ?? 'Not found'} · ReFT Studio`;
tool('mask').addEventListener('click', toggleMask);
tool('theme').addEventListener('click', () => window.rs.theme(window.rs.dark ? 'light' : 'dark'));
tool('keys').addEventListener('click', help);
tool('close').addEventListener('click', () => slot('help').close());
window.rs.key('?', 'Show this list', help);
window.rs.key('M', 'Mask or show harmful text', toggleMask);
window.rs.on('rs:refresh', () => refresh(true));
window.rs.on('rs:typing', event => { slot('paused').hidden = !(event.detail.typing && window.rs.keysOn); });
others.addEventListener('message', () => { if (!document.hidden) { heard = true; refresh(true); } });
window.addEventListener('focus', () => refresh(true));
document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh(true); });
refresh(true);
