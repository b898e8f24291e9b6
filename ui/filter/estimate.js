// The share of harmful rows, what the line does by it, and what another share would mean; live with the line. What may be shown is
// decided by the server (reft_studio/audit/estimates.py): where it withholds, the reason and the way out stand here and no number.
// value = the threshold panel's plus {seconds}; server: srv_shift, asked once for a score set and told to the other widgets by
// `rs:calibration` (rs.estimate: what may be said; rs.calibration: the counts of the prompts, null where there are none).
const $ = (selector) => element.querySelector(selector);
const panel = $('.es'), prevalence = $('.es-prevalence'), seconds = $('.es-seconds');
const ENOUGH = 30;
let data = null, counts = null, calibration = null, estimate = null, moved = false;

// The labels of the file where there are enough of both kinds, else the calibration where it holds.
function source() {
  const harmful = counts.tp + counts.fn, harmless = counts.fp + counts.tn;
  if (Math.min(harmful, harmless) >= ENOUGH) return { here: true, rates: { hits: counts.tp, harmful, alarms: counts.fp, harmless } };
  return calibration && estimate && !estimate.withheld ? { here: false, rates: ratesAt(calibration, toIndex(counts.t)) } : null;
}

const pairs = (lines) => lines.flatMap(([name, value, more]) => [h('dt', { text: name }), h('dd', {}, h('b', { text: value }), more ? h('span', { text: `  (${more})` }) : null)]);

function writeEstimate() {
  const { rate, withheld } = estimate, big = $('.es-big');
  big.hidden = !rate;
  if (rate) {
    big.firstChild.textContent = percent(rate.value);
    big.lastChild.textContent = rate.low === rate.high ? '' : `(${span([rate.low, rate.high])} %)`;
  }
  $('.es-said').hidden = !rate;
  $('.es-said').textContent = estimate.sentence;
  $('.es-withheld').hidden = !withheld || estimate.by === 'labels';
  $('.es-why').textContent = withheld ? `${rate ? '' : 'Withheld. '}${withheld.why}` : '';
  $('.es-remedy').textContent = withheld ? withheld.remedy : '';
  $('.es-withheld a').hidden = Boolean(rate);
  $('.es-withheld a').textContent = estimate.waiting ? `Read random rows (${number(estimate.read)} of ${number(estimate.wanted)} done)` : 'Read random rows';
  $('.es-check').textContent = estimate.checked;
  $('.es-assumes').hidden = estimate.by !== 'calibration';
  $('.es-assumes').textContent = calibration && calibration.excluded ? `${number(calibration.excluded)} calibration prompts are in this file too and were left out.` : '';
}

const SAYS = { labels: 'counted on the labels', calibration: 'from that share and the calibration prompts', sample: 'from the random rows that were read' };
function writeLine() {
  const found = atLine(estimate, counts, calibration), lines = [];
  if (found.precision) lines.push(['Flagged rows that are harmful', shareText(found.precision), '']);
  if (found.staying) lines.push(['Harmful rows that stay', rowsText(found.staying), '']);
  $('.es-line').hidden = !lines.length;
  $('.es-line').replaceChildren(...pairs(lines), ...(lines.length ? [h('dt', { class: 'es-by', text: `At the line, ${signed(counts.t)}: ${SAYS[estimate.by]}` })] : []));
}

function writeDial() {
  const from = source(), known = estimate && estimate.rate ? estimate.rate.value : null;
  $('.es-dial').hidden = !from;
  if (!from) return;
  if (!moved && known !== null) prevalence.value = Math.log10(Math.min(0.5, Math.max(0.001, known)));
  $('.es-follow').hidden = !moved || known === null;
  const share = Math.pow(10, Number(prevalence.value)), { rates } = from, assumed = exactly(share);
  $('.es-assumed').textContent = percent(share, share < 0.01 ? 2 : 1);
  prevalence.setAttribute('aria-valuetext', percent(share, 2));
  const harmless = (1 - share) * counts.total, alarms = wilson(rates.alarms, rates.harmless).map((one) => one * harmless);
  const pace = Math.min(3600, Math.max(1, Number(seconds.value) || 20));
  $('.es-if').replaceChildren(...pairs([
    ['Flagged rows that are harmful', shareText(precisionAt(assumed, rates)), ''],
    ['Harmless rows removed', rowsText({ value: (harmless * rates.alarms) / rates.harmless, low: alarms[0], high: alarms[1] }), ''],
    ['Harmful rows that stay', rowsText(stayingAt(assumed, rates, counts.total, counts.kept)), ''],
    ['Reading all flagged rows', readingTime(counts.flagged, pace), `${number(counts.flagged)} rows`],
  ]));
  const n = number(rates.harmful + rates.harmless);
  $('.es-source').textContent = `With the recall and false-positive rate of ${from.here ? `this file's ${n} labelled rows` : `${n} calibration prompts`}; 95 % intervals.`;
}

function write() {
  if (!counts || !data || !estimate) return;
  writeEstimate();
  writeLine();
  writeDial();
  $('.es-body').toggleAttribute('data-alone', $('.es-dial').hidden);
}

const load = lastWins(async (asked) => {
  const reply = await server.srv_shift({ dataset: asked.dataset, key: asked.key });
  if (asked !== data) return;
  const none = $('.es-none'), shift = reply && reply.ok ? reply.shift : null;
  none.hidden = Boolean(reply && reply.ok);
  none.textContent = (reply && !reply.ok && reply.error) || 'The server gave no answer. Open the page again.';
  const where = { dataset: asked.dataset, key: asked.key };
  calibration = shift && { harmful: suffixCounts(shift.harmful), harmless: suffixCounts(shift.harmless), excluded: shift.excluded };
  estimate = reply && reply.ok ? reply.estimate : null;
  rs.calibration = shift && { ...where, ...calibration, shift };
  rs.estimate = estimate && { ...where, ...estimate };
  rs.emit('rs:calibration');
  write();
});

prevalence.addEventListener('input', () => { moved = true; write(); });
$('.es-follow').addEventListener('click', () => { moved = false; write(); });
seconds.addEventListener('input', write);
seconds.addEventListener('change', () => { const s = Number(seconds.value); if (s >= 1 && s <= 3600) trigger('pace', { seconds: s }); });
rs.on('rs:threshold', (event) => { if (data && event.detail.key === data.key && event.detail.dataset === data.dataset) { counts = event.detail; if (panel.offsetParent !== null) write(); } });
rs.on('rs:panel', write);
function draw() {
  const before = data && `${data.dataset} ${data.key}`;
  data = readJson(props.value, null);
  panel.hidden = !data;
  if (!data) return;
  if (document.activeElement !== seconds) seconds.value = data.seconds || 20;
  if (before === `${data.dataset} ${data.key}`) { load(data); write(); return; }
  counts = null;
  calibration = estimate = rs.calibration = rs.estimate = null;
  moved = false;
  prevalence.value = -2;
  for (const part of ['.es-big', '.es-said', '.es-withheld', '.es-line', '.es-assumes', '.es-dial']) $(part).hidden = true;
  $('.es-check').textContent = '';
  $('.es-none').hidden = false;
  $('.es-none').textContent = 'The teacher\u2019s calibration prompts are being compared with this file. The first time this takes some seconds; the line can be moved meanwhile.';
  load(data);
  rs.emit('rs:threshold-wanted');
}
watch('value', draw);
draw();
