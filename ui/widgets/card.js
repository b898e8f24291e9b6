// One row of the dataset, drawn the same way in the table's detail pane and in the review. All text through textContent.
// card: see ui/shared/cards.py. options: {threshold, onReveal(wanted), onWhole(), hold (reveal only while the button is held), why, compact}
const ACTIONS = { keep: 'Keep', remove: 'Remove', relabel: 'Relabel', unsure: 'Unsure', clear: 'Back to the threshold' };
const KIND = { keep: 'keep', remove: 'flag', relabel: 'relabel', unsure: 'unsure' };

const badge = (text, kind, title) => h('span', { class: 'rs-badge', 'data-kind': kind, title, text });

function decisionBadge(decision, effective) {
  if (decision && ACTIONS[decision] && decision !== 'clear') return badge(ACTIONS[decision], KIND[decision], 'decided by a person');
  const text = { remove: 'flagged', keep: 'kept', undecided: 'not scored', waiting: 'waiting' }[effective] || '';
  return h('span', { class: 'cd-policy', 'data-kind': effective, title: effective === 'waiting' ? 'not yet reached by the scorer' : 'by the threshold', text });
}

// A scale from -1 to 1 with the flagged side shaded, the threshold as a line and the row's score as a dot.
function gauge(score, threshold) {
  const left = 8, right = 292, x = (value) => left + ((Math.min(1, Math.max(-1, value)) + 1) / 2) * (right - left);
  const said = `${score === null ? 'not scored' : `score ${signed(score)}`}, threshold ${signed(threshold)}`;
  const root = svg('svg', { class: 'cd-gauge', viewBox: '0 0 300 44', role: 'img', 'aria-label': said });
  root.append(svg('rect', { class: 'cd-rail', x: left, y: 15, width: right - left, height: 8, rx: 4 }),
    svg('rect', { class: 'cd-side', x: x(threshold), y: 15, width: Math.max(0, right - x(threshold)), height: 8, rx: 4 }),
    svg('line', { class: 'cd-line', x1: x(threshold), x2: x(threshold), y1: 8, y2: 30 }));
  for (const [value, anchor] of [[-1, 'start'], [0, 'middle'], [1, 'end']]) root.append(svg('text', { class: 'cd-tick', x: value === 0 ? x(0) : value < 0 ? left - 4 : right + 4, y: 42, 'text-anchor': anchor, text: signed(value).replace('.000', '') }));
  if (score !== null) root.append(svg('circle', { class: isFlagged(score, threshold) ? 'cd-dot cd-over' : 'cd-dot', cx: x(score), cy: 19, r: 7 }));
  return root;
}

function scoreLine(card, threshold) {
  if (card.score === null || threshold === null) return `This row has no score${card.reason ? ` (${card.reason})` : ''}: only a person can decide it.`;
  const distance = Math.abs(card.score - threshold).toFixed(3);
  const side = card.flagged ? `${distance} above the line, so the filter flags it` : `${distance} below the line, so the filter keeps it`;
  const rank = card.percentile === null ? '' : ` It scores higher than ${card.percentile.toFixed(1)} % of the rows.`;
  const cut = card.shortened ? ` Its prompt was cut${card.shortened_at ? ` at ${number(card.shortened_at)} tokens` : ''} before scoring: the middle was not read by the model.` : '';
  return `Its score lies ${side}.${rank}${cut}`;
}

function textBlock(part) {
  return h('div', { class: 'cd-text', 'data-role': part.role, 'data-masked': part.masked ? '1' : null },
    h('div', { class: 'cd-role' }, h('span', { text: part.label }), h('span', { class: 'cd-length', text: `${number(part.length)} characters` })),
    h('div', { class: part.masked ? 'cd-body rs-masked' : 'cd-body', text: part.text || '(empty)' }));
}

function historyList(history) {
  if (!history.length) return h('p', { class: 'cd-none', text: 'Nobody has decided this row yet.' });
  return h('ol', { class: 'cd-history' }, ...history.map((entry) => h('li', {},
    h('b', { text: entry.what }), h('span', { text: ` by ${entry.by}, ${entry.when}${entry.reason ? `: ${entry.reason}` : ''}` }))));
}

// How the button reveals. While it is held, the card is drawn anew under the pointer: the release is heard on the window.
function revealing(card, options) {
  if (!options.hold) return { onclick: () => options.onReveal(!card.revealed) };
  const start = (event) => { event.preventDefault(); options.onReveal(true); window.addEventListener('pointerup', () => options.onReveal(false), { once: true }); };
  const press = (event) => {
    if (event.repeat || (event.key !== ' ' && event.key !== 'Enter')) return;
    event.preventDefault();
    options.onReveal(true);
    window.addEventListener('keyup', () => options.onReveal(false), { once: true });
  };
  return { onpointerdown: start, onkeydown: press };
}

function drawCard(host, card, options) {
  const masked = card.texts.some((part) => part.masked);
  const head = h('div', { class: 'cd-head', 'data-row': card.row }, h('h3', { text: `Row ${number(card.row)}` }), decisionBadge(card.decision, card.effective));
  if (card.decision && card.decision !== 'clear' && card.seen === false) head.append(badge('decided unseen', 'warn', 'Its text was not shown to the person who decided: the row counts as decided, not as read.'));
  if (card.origin) head.append(badge(card.origin, null, 'where the row came from'));
  if (card.category) head.append(badge(card.category, null, 'category in the file'));
  if (card.known !== null) head.append(badge(card.known ? 'known harmful' : 'known harmless', null, 'label that came with the file; no scorer reads it'));
  const reveal = masked || card.revealed
    ? h('button', { type: 'button', class: 'rs-button cd-reveal', 'aria-pressed': String(card.revealed), text: options.hold ? 'Hold to reveal' : card.revealed ? 'Mask again' : 'Reveal text', ...revealing(card, options) })
    : null;
  if (reveal && !options.compact) reveal.append(h('kbd', { class: 'rs-key', text: 'R' }));
  const long = !masked && options.onWhole && card.texts.some((part) => part.cut);
  const all = long ? h('button', { type: 'button', class: 'rs-button cd-whole', title: 'A row counts as read once its whole text was shown', text: 'Show the whole text', onclick: () => options.onWhole() }) : null;
  host.replaceChildren(head,
    options.threshold === null ? '' : h('div', { class: 'cd-score' }, h('div', { class: 'cd-value' }, h('b', { text: card.score === null ? 'no score' : signed(card.score) }), h('span', { text: `line at ${signed(options.threshold)}` })), gauge(card.score, options.threshold)),
    h('p', { class: 'cd-why', text: [scoreLine(card, options.threshold), options.why].filter(Boolean).join(' ') }),
    h('div', { class: 'cd-texts' }, ...card.texts.map(textBlock)),
    h('div', { class: 'cd-tools' }, reveal, all),
    h('div', { class: 'cd-past' }, h('h4', { text: 'History' }), historyList(card.history)));
}
