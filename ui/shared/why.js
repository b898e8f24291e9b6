// Why a row was flagged. value = JSON of {dataset, key, threshold}; follows `rs:why` {dataset, row, open, revealed}, `rs:threshold`
// and `rs:mask`; server: srv_why (what is stored), srv_why_inside (the teacher's own words). Text arrives cleaned and masked.
const $ = (selector) => element.querySelector(selector);
const panel = $('.wy'), fold = $('.wy-fold'), body = $('.wy-body'), wait = $('.wy-wait'), reveal = $('.wy-reveal'), plotHost = $('.wy-plot');
const withSign = (value) => ['\u2212', '', '+'][Math.sign(Math.round(value * 1000)) + 1] + Math.abs(value).toFixed(3);
const count = (n) => Number(n).toLocaleString('en-US');
const SIZE = { height: 200, left: 44, right: 14, top: 20, bottom: 36 };
let data = null, row = null, line = 0, open = !props.folded, revealed = false, masked = null, facts = null, inside = null, mode = 'cosine', drawn = 0, asked = 0, ready = false, wished = false, near = false;

const over = () => isFlagged(facts.score, line);

function verdict() {
  const teller = facts.layer === null ? facts.teacher : `${facts.teacher}, block ${facts.layer}`;
  if (facts.score === null) return [`The row has no score${facts.reason ? `: ${facts.reason}` : ''}. Only a person can decide it. (${teller})`];
  const distance = Math.abs(facts.score - line).toFixed(3);
  return [`The ${facts.measure} is `, h('b', { text: withSign(facts.score) }), `, ${distance} ${over() ? 'above' : 'below'} the line at ${withSign(line)}, so the filter ${over() ? 'flags' : 'keeps'} it. (${teller})`];
}

const links = (ids) => ids.map((id) => h('a', { href: `/review?row=${id}`, text: count(id) }));

function drawLine() {
  $('.wy h2').textContent = facts.score === null ? 'Why has it no score?' : over() ? 'Why was it flagged?' : 'Why was it kept?';
  $('.wy-sentence').replaceChildren(...verdict());
}

function drawFacts() {
  drawLine();
  $('.wy-row').textContent = `row ${count(facts.row)}`;
  $('.wy-lacks').hidden = !facts.lacks;
  $('.wy-lacks').textContent = facts.lacks;
  reveal.hidden = !facts.masked && !facts.revealed;
  reveal.textContent = facts.revealed ? 'Mask again' : 'Reveal text';
  reveal.setAttribute('aria-pressed', String(facts.revealed));
  $('.wy-verdicts').replaceChildren(...(facts.verdicts.length ? facts.verdicts.map((one) => h('li', {}, h('b', { text: one.title }), ` ${one.text}`)) : [h('li', { class: 'rs-muted', text: 'This dataset was scored once only.' })]));
  const same = $('.wy-same');
  if (facts.duplicates === null) same.textContent = 'Not looked up, since the row has no score.';
  else if (!facts.duplicates.length) same.textContent = facts.more ? 'None among the rows that were compared.' : 'None.';
  else same.replaceChildren(...links(facts.duplicates), facts.more ? 'and more' : '');
  const close = $('.wy-near-same');
  close.replaceChildren(...(facts.near && facts.near.length ? ['Nearly the same: ', ...links(facts.near)] : []));
  close.hidden = !close.firstChild;
  $('.wy-response').textContent = facts.response.text || '(empty)';
  $('.wy-response').classList.toggle('rs-masked', facts.masked);
  $('.wy-response-note').textContent = facts.response.note;
}

function drawTokens() {
  const values = inside.tokens.map((token) => token[mode]), most = Math.max(1e-9, ...values.map((value) => Math.abs(value || 0)));
  const share = mode === 'cosine' && inside.layer !== null ? 1 : most;
  const cells = inside.tokens.map((token, place) => {
    const value = values[place], last = place === inside.tokens.length - 1 && inside.layer !== null;
    const cell = h('span', { text: token.text || '\u00b7', 'data-own': token.own ? 1 : 0, 'data-last': last, title: value === null ? 'not measured' : withSign(value) });
    if (value) { cell.dataset.sign = Math.sign(value); cell.style.setProperty('--rs-share', `${Math.round(8 + 72 * Math.min(1, Math.abs(value) / share))}%`); }
    return cell;
  });
  if (inside.after !== null) cells.splice(inside.after, 0, h('em', { text: ` \u2026 cut: ${count(inside.cut)} tokens not shown \u2026 ` }));
  $('.wy-map').replaceChildren(...cells);
  const words = `Each word with its share of the log odds, the runs of letters through it included: orange speaks for harm, blue (dashed) against it; the strongest counts ${most.toFixed(2)}.`;
  const notes = [inside.turn, inside.layer === null ? words : mode === 'cosine' ? 'Orange points along the refusal feature, blue (dashed) against it. The framed last token is where the whole prompt has been read: its similarity is the score.'
    : `How the score would change without a token: orange ones raise it, blue ones (dashed) lower it; the strongest moves it by ${most.toFixed(3)}.`,
  inside.truncated ? 'The prompt is longer than the model reads: its middle was cut before scoring.' : ''];
  $('.wy-note').textContent = notes.filter(Boolean).join(' ');
}

function drawLayers() {
  $('.wy-layers').hidden = !inside.layers.length;
  if (!inside.layers.length) return;
  const width = Math.max(220, plotHost.clientWidth), layers = inside.layers, step = (width - SIZE.left - SIZE.right) / layers.length;
  const x = (place) => SIZE.left + step * (place + 0.5), y = (value) => SIZE.top + ((1 - value) / 2) * (SIZE.height - SIZE.top - SIZE.bottom);
  const at = layers.find((one) => one.layer === inside.layer);
  const root = svg('svg', { width, height: SIZE.height, role: 'img', 'aria-label': `Similarity after each of ${layers.length} blocks; ${withSign(at.cosine)} after block ${at.layer}, which is in use` });
  for (const tick of [-1, 0, 1]) {
    root.append(svg('line', { class: 'wy-grid', x1: SIZE.left, x2: width - SIZE.right, y1: y(tick), y2: y(tick) }),
      svg('text', { class: 'wy-tick', x: SIZE.left - 8, y: y(tick) + 4, 'text-anchor': 'end', text: tick ? withSign(tick).slice(0, 2) : '0' }));
  }
  const thick = Math.max(3, Math.min(12, step / 4)), every = Math.max(1, Math.ceil(layers.length / 12));
  layers.forEach((one, place) => {
    for (const [kind, side] of [['harmful', -1], ['harmless', 1]]) {
      if (!one[kind]) continue;
      const middle = x(place) + side * thick * 0.8, [low, half, high] = one[kind];
      root.append(svg('line', { class: 'wy-band', 'data-kind': kind, x1: middle, x2: middle, y1: y(low), y2: y(high), 'stroke-width': thick }),
        svg('line', { class: 'wy-middle', 'data-kind': kind, x1: middle - thick, x2: middle + thick, y1: y(half), y2: y(half) }));
    }
    if (place % every === 0) root.append(svg('text', { class: 'wy-tick', x: x(place), y: SIZE.height - SIZE.bottom + 16, 'text-anchor': 'middle', text: `${one.layer}` }));
  });
  root.append(svg('text', { class: 'wy-tick', x: (SIZE.left + width - SIZE.right) / 2, y: SIZE.height - 3, 'text-anchor': 'middle', text: 'decoder block' }),
    svg('path', { class: 'wy-path', d: layers.map((one, place) => `${place ? 'L' : 'M'}${x(place).toFixed(1)} ${y(one.cosine).toFixed(1)}`).join('') }));
  layers.forEach((one, place) => root.append(svg('circle', { class: 'wy-dot', 'data-chosen': one.layer === inside.layer, r: one.layer === inside.layer ? 5 : layers.length > 16 ? 2 : 3.5, cx: x(place), cy: y(one.cosine) })));
  const left = x(layers.indexOf(at)), end = left > width * 0.7 ? 'end' : left < width * 0.3 ? 'start' : 'middle';
  root.append(svg('text', { class: 'wy-name', x: left, y: 12, 'text-anchor': end, text: `block ${at.layer} in use: ${withSign(at.cosine)}` }));
  plotHost.replaceChildren(root);
  drawn = plotHost.clientWidth;
}

function drawNear() {
  $('.wy-near').hidden = !inside.harmful.length && !inside.harmless.length;
  const toggle = $('.wy-near-reveal');
  toggle.hidden = !near && ![...inside.harmful, ...inside.harmless].some((one) => one.masked);
  toggle.textContent = near ? 'Mask again' : 'Reveal these';
  toggle.setAttribute('aria-pressed', String(near));
  for (const kind of ['harmful', 'harmless']) {
    $(`.wy-${kind}`).replaceChildren(...inside[kind].map((one) => h('li', {}, h('b', { text: one.cosine.toFixed(3), title: 'cosine of its feature with this row\u2019s' }),
      h('span', { class: one.masked ? 'rs-masked' : null, text: one.text }), h('small', { text: `its own score ${withSign(one.score)}` }))));
  }
}

function drawInside() {
  $('.wy-inside').hidden = !inside;
  if (!inside) return;
  $('.wy-tokens b').textContent = inside.layer === null ? 'Word by word' : 'Token by token';
  $('.wy-modes').hidden = inside.layer === null;
  const measured = inside.tokens.some((token) => token.effect !== null);
  if (!measured) mode = 'cosine';
  panel.querySelectorAll('.wy-modes button').forEach((one) => {
    one.disabled = one.dataset.mode === 'effect' && !measured;
    one.title = one.disabled ? 'Not measured: too much work for this model and prompt' : '';
    one.setAttribute('aria-checked', String(one.dataset.mode === mode));
  });
  $('.wy-layer-note').textContent = 'the prompt\u2019s similarity after every block';
  drawTokens();
  drawLayers();
  drawNear();
}

function tell(text, kind) { wait.hidden = !text; wait.textContent = text; wait.dataset.kind = kind || ''; }

function empty(text) {
  facts = inside = null;
  $('.wy-empty').textContent = text;
  $('.wy-empty').hidden = !text;
  $('.wy-found').hidden = Boolean(text);
  if (text) { $('.wy-row').textContent = ''; reveal.hidden = true; }
}

// What is stored is drawn at once; the teacher's answer comes when its model is in memory.
async function ask() {
  if (!data || !open) return;
  if (row === null) { empty('Open a row to see why it was flagged.'); return; }
  const wanted = { dataset: data.dataset, row, key: data.key, t: line, mask: rs.masked, reveal: revealed, near }, turn = ++asked;
  masked = rs.masked;
  const late = () => turn !== asked;
  let model = ready || wished ? server.srv_why_inside(wanted) : null;
  const stored = await server.srv_why(wanted);
  if (late()) return;
  if (!stored || !stored.ok) { asked++; empty((stored && stored.error) || 'This row could not be explained. Is the app still running?'); tell(''); return; }
  if (!inside) $('.wy-inside').hidden = true;
  empty('');
  facts = stored.why;
  ready = facts.ready;
  drawFacts();
  const askable = ready || wished || facts.score === null;
  $('.wy-load').hidden = askable || facts.layer === null;
  if (!askable || facts.score === null) { tell(''); return; }
  model = model || server.srv_why_inside(wanted);
  const slow = setTimeout(() => { if (!late()) tell('Asking the teacher. The first time its model has to be loaded, which takes some seconds.'); }, 300);
  const reply = await model;
  clearTimeout(slow);
  if (late()) return;
  inside = reply && reply.ok ? reply.inside : null;
  tell(inside ? '' : (reply && reply.error) || 'The teacher could not be asked. Is the app still running?', inside ? '' : 'error');
  drawInside();
}

function unfold(wanted) {
  open = wanted;
  fold.setAttribute('aria-expanded', String(open));
  body.hidden = !open;
  if (open && !facts) ask();
}

fold.addEventListener('click', () => unfold(!open));
$('.wy-load button').addEventListener('click', () => { wished = true; ask(); });
reveal.addEventListener('click', () => {
  revealed = !revealed;
  if (revealed) rs.emit('rs:exposed', { row, from: 'why' });
  ask();
});
$('.wy-near-reveal').addEventListener('click', () => {
  near = !near;
  if (near) rs.emit('rs:exposed', { row, from: 'neighbours' });
  ask();
});
panel.querySelector('.wy-modes').addEventListener('click', (event) => {
  const chosen = event.target.closest('button');
  if (chosen && !chosen.disabled && inside) { mode = chosen.dataset.mode; drawInside(); }
});
rs.key('w', 'Why was it flagged: open or close', () => { if (!panel.hidden) unfold(!open); });
rs.on('rs:why', (event) => {
  const wanted = event.detail;
  if (!data || (wanted.dataset && wanted.dataset !== data.dataset)) return;
  const other = wanted.row !== row;
  if (!other && (wanted.revealed === undefined || wanted.revealed === revealed) && !wanted.open) return;
  row = wanted.row;
  revealed = wanted.revealed === undefined ? (other ? false : revealed) : Boolean(wanted.revealed);
  if (other) { facts = inside = null; near = false; asked++; tell(''); }
  if (wanted.open && !open) unfold(true); else ask();
});
rs.on('rs:threshold', (event) => {
  if (!data || event.detail.key !== data.key || event.detail.dataset !== data.dataset) return;
  const before = facts && over();
  line = event.detail.t;
  if (!facts) return;
  drawLine();
  if (facts.score !== null && over() !== before) ask(); // whether the text is masked depends on the side
});
const remask = () => { if (data && masked !== null && masked !== rs.masked) { revealed = near = false; ask(); } };
rs.on('rs:state', remask);
rs.on('rs:mask', remask);
new ResizeObserver(() => { if (inside && inside.layers.length && plotHost.clientWidth && plotHost.clientWidth !== drawn) drawLayers(); }).observe(panel);

function draw() {
  const before = data && `${data.dataset} ${data.key}`;
  data = readJson(props.value, null);
  element.closest('.block').hidden = panel.hidden = !data;
  if (!data) return;
  if (before !== `${data.dataset} ${data.key}`) { row = null; facts = inside = null; ready = wished = false; line = data.threshold || 0; }
  unfold(open);
}
watch('value', draw);
draw();
