// The job panel: asks for the jobs itself (single-flight, paused while the tab is hidden) and draws them.
// Text from the server goes through textContent only. Writes go through the queued event "act".
const LIVE_MS = 1000, IDLE_MS = 2500;
const list = element.querySelector('.jp-list');
const empty = element.querySelector('.jp-empty');
const lost = element.querySelector('.jp-lost');
const cards = new Map();
const states = new Map();
let timer = null, busy = false;

const DISMISSED = 'rs-dismissed-jobs';
const dismissed = () => { try { return JSON.parse(sessionStorage.getItem(DISMISSED) || '[]'); } catch (e) { return []; } };
const dismiss = (id) => { sessionStorage.setItem(DISMISSED, JSON.stringify([...dismissed().slice(-99), id])); };

function make(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}

function act(button, id, what) {
  button.disabled = true;
  trigger('act', { id, act: what });
  setTimeout(() => { button.disabled = false; poll(); }, 600);
}

function button(label, id, what, hint) {
  const node = make('button', 'jp-button', label);
  node.type = 'button';
  node.setAttribute('aria-label', hint);
  node.title = hint;
  node.onclick = () => act(node, id, what);
  return node;
}

function newCard(job) {
  const card = make('article', 'jp-card');
  card.setAttribute('role', 'listitem');
  const parts = { card };
  const head = make('div', 'jp-head');
  parts.title = head.appendChild(make('span', 'jp-title'));
  parts.badge = head.appendChild(make('span', 'jp-badge'));
  parts.badge.setAttribute('aria-live', 'polite'); // not the whole card: its numbers change every second
  parts.actions = head.appendChild(make('span', 'jp-actions'));
  parts.stage = make('div', 'jp-stage');
  parts.bar = make('div', 'jp-bar');
  parts.bar.setAttribute('role', 'progressbar');
  parts.foot = make('div', 'jp-foot');
  parts.left = parts.foot.appendChild(make('span'));
  parts.right = parts.foot.appendChild(make('span'));
  parts.message = make('p', 'jp-message');
  card.append(head, parts.stage, parts.bar, parts.foot, parts.message);
  parts.actionKey = parts.segments = null;
  cards.set(job.id, parts);
  return parts;
}

function drawActions(parts, job) {
  const key = `${job.actions.join(',')} ${job.again}`;
  if (key === parts.actionKey) return;
  parts.actionKey = key;
  parts.actions.replaceChildren();
  const retry = job.keeps ? 'Queue this job again; it goes on from what it kept' : 'Queue this job again';
  const name = {
    up: ['↑', 'Move up in the queue'], down: ['↓', 'Move down in the queue'], first: ['First', 'Make this job the next'],
    pause: ['Pause', job.state === 'queued' ? 'Hold this job back' : 'Pause this job; it keeps what it has'], resume: ['Resume', 'Make this job the next, and go on'],
    stop: ['Stop and save', 'End the training now and keep what was learnt'], cancel: ['Cancel', 'Cancel this job'],
    retry: ['Try again', retry], anew: ['Start anew', 'Queue this job again from its beginning; what it kept is forgotten'],
  };
  for (const what of job.actions) {
    if (what === 'dismiss') {
      const node = make('button', 'jp-button jp-quiet', '×');
      node.type = 'button';
      node.title = 'Hide';
      node.setAttribute('aria-label', 'Hide this job here');
      node.onclick = () => { dismiss(job.id); parts.card.remove(); cards.delete(job.id); poll(); };
      parts.actions.append(node);
    } else parts.actions.append(button(name[what][0], job.id, what, name[what][1]));
  }
  if (job.again) {
    const link = make('a', 'jp-button jp-quiet', 'Duplicate with a change');
    link.href = job.again;
    link.title = 'Open the form with the settings of this run';
    parts.actions.append(link);
  }
}

// One segment per stage; the segment being worked on fills.
function drawBar(parts, job) {
  const shown = job.state === 'running';
  parts.bar.hidden = !shown;
  if (!shown) return;
  if (parts.segments !== job.stages) {
    parts.segments = job.stages;
    parts.bar.replaceChildren();
    for (let i = 0; i < job.stages; i++) parts.bar.appendChild(make('i')).appendChild(make('b'));
  }
  [...parts.bar.children].forEach((segment, i) => {
    const fill = segment.firstChild;
    const open = job.state === 'running' && i === job.stage - 1 && job.share === null;
    segment.classList.toggle('jp-open', open);
    const share = i < job.stage - 1 ? 1 : i === job.stage - 1 ? (job.share ?? 0) : 0;
    fill.style.width = `${Math.round(1000 * share) / 10}%`;
  });
  const overall = Math.round(100 * (Math.max(job.stage - 1, 0) + (job.share ?? 0)) / Math.max(job.stages, 1));
  parts.bar.setAttribute('aria-valuenow', String(overall));
  parts.bar.setAttribute('aria-valuemin', '0');
  parts.bar.setAttribute('aria-valuemax', '100');
  parts.bar.setAttribute('aria-label', `${job.title}: ${job.stage_text}`);
}

function draw(jobs) {
  const hidden = new Set(dismissed());
  const shown = jobs.filter((job) => job.shown && !(hidden.has(job.id) && job.actions.includes('dismiss')));
  const ids = new Set(shown.map((job) => job.id));
  for (const [id, parts] of cards) if (!ids.has(id)) { parts.card.remove(); cards.delete(id); }
  shown.forEach((job, i) => {
    const parts = cards.get(job.id) || newCard(job);
    parts.card.dataset.state = job.state;
    parts.card.toggleAttribute('data-waits', job.waits);
    parts.card.dataset.job = job.id;
    parts.title.textContent = parts.title.title = job.title;
    parts.badge.textContent = job.badge;
    parts.stage.textContent = job.stage_text;
    parts.stage.hidden = !job.stage_text;
    parts.left.textContent = job.left;
    parts.right.textContent = job.right;
    parts.foot.hidden = !job.left && !job.right;
    parts.message.textContent = job.message;
    parts.message.hidden = !job.message;
    drawActions(parts, job);
    drawBar(parts, job);
    if (list.children[i] !== parts.card) list.insertBefore(parts.card, list.children[i] || null);
  });
  empty.hidden = shown.length > 0 || !empty.textContent;
}

// What becomes of the rest when a job fails: asked only where something waits.
const rule = element.querySelector('.jp-rule');
const choice = rule.querySelector('select');
choice.onchange = () => trigger('act', { id: '', act: choice.value });
function drawRule(answer) {
  rule.hidden = !answer.jobs.some((job) => job.shown && (job.state === 'queued' || (job.state === 'paused' && answer.after_failure === 'hold')));
  if (document.activeElement !== choice) choice.value = answer.after_failure;
}

// Tells the page once when a job has ended that began while the page was open; a quick one may never have been seen alive.
const alive = (state) => state === 'running' || state === 'queued' || state === 'paused';
let looked = false;
function announce(jobs) {
  for (const job of jobs) {
    const before = states.get(job.id);
    states.set(job.id, job.state);
    const began = before === undefined ? looked : alive(before);
    if (began && !alive(job.state)) trigger('done', { id: job.id, kind: job.kind, state: job.state });
  }
  looked = true;
}

async function poll() {
  clearTimeout(timer);
  if (busy) return;
  let wait = IDLE_MS;
  if (!document.hidden && element.isConnected) {
    busy = true;
    try {
      const answer = await server.srv_jobs({});
      lost.hidden = Boolean(answer && answer.ok);
      if (answer && answer.ok) {
        announce(answer.jobs);
        draw(answer.jobs);
        drawRule(answer);
        if (answer.jobs.some((job) => alive(job.state))) wait = LIVE_MS;
      }
    } catch (error) {
      lost.hidden = false;
    } finally {
      busy = false;
    }
  }
  timer = setTimeout(poll, wait);
}

empty.textContent = props.empty || '';
document.addEventListener('visibilitychange', () => { if (!document.hidden) poll(); });
window.rs.on('rs:refresh', () => setTimeout(poll, 150));  // something was started or ended: look at once
watch('value', poll);
poll();
