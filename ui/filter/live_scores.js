// How far scoring is. value = JSON of {dataset}; server: srv_live({dataset}). It asks once a second while a job scores, else only when
// the state of the project changes. Events: "act" {act, dataset, job, scorer}; "moved", there are more scores; "replaced", others are in use.
const EVERY_MS = 1000;
const $ = (selector) => element.querySelector(selector);
const box = $('.lv'), button = $('.lv-act'), bar = $('.lv-bar');
let data = null, now = null, timer = 0;

const ask = lastWins(async (dataset) => {
  clearTimeout(timer);
  if (!element.isConnected) return;
  const reply = document.hidden ? null : await server.srv_live({ dataset });
  if (!data || data.dataset !== dataset) return;
  if (reply && reply.ok) take(reply.now);
  if (!reply || !reply.ok || now.running) timer = setTimeout(() => { if (data) ask(data.dataset); }, EVERY_MS);
});

function take(fresh) {
  const before = now;
  now = fresh;
  show();
  if (!before) return;
  if (before.key !== now.key || (before.share === null) !== (now.share === null)) trigger('replaced', {});
  else if (before.stamp !== now.stamp) trigger('moved', {});
}

function show() {
  element.closest('.block').hidden = box.hidden = !now || !now.text;
  if (box.hidden) return;
  // Screen readers hear what happens, not every count.
  const told = $('.lv-text');
  told.setAttribute('aria-live', now.running && now.share !== null ? 'off' : 'polite');
  told.textContent = now.text;
  $('.lv-detail').textContent = now.detail;
  button.textContent = now.action;
  button.hidden = !now.act;
  bar.hidden = now.share === null || now.running; // the job's own bar runs then
  bar.setAttribute('aria-valuenow', Math.round(100 * (now.share || 0)));
  bar.firstChild.style.width = `${100 * (now.share || 0)}%`;
}

button.addEventListener('click', () => {
  trigger('act', { act: now.act, dataset: data.dataset, job: now.job, scorer: now.scorer });
  button.disabled = true;
  setTimeout(() => { button.disabled = false; if (data) ask(data.dataset); }, 600);
});
rs.on('rs:changed', () => { if (data && element.isConnected) ask(data.dataset); });
document.addEventListener('visibilitychange', () => { if (data && element.isConnected && !document.hidden) ask(data.dataset); });

function draw() {
  const before = data && data.dataset;
  data = readJson(props.value, null);
  if (!data || data.dataset !== before) now = null;
  show();
  if (data) ask(data.dataset);
}
watch('value', draw);
draw();
