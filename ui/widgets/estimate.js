// The share of harmful rows with its interval, and what another share would mean; live with the line.
// value = the threshold panel's plus {seconds}; server: srv_shift, asked once for a score set and told to the other widgets by `rs:calibration`.
const $ = (selector) => element.querySelector(selector);
const panel = $('.es'), prevalence = $('.es-prevalence'), seconds = $('.es-seconds');
const ENOUGH = 30;
let data = null, counts = null, calibration = null, moved = false;

const interval = (k, n, times) => { const [low, high] = wilson(k, n); return `${number(times * low)} to ${number(times * high)}`; };

// The labels of the file where there are enough of both kinds, else the calibration.
function source() {
  const harmful = counts.tp + counts.fn, harmless = counts.fp + counts.tn;
  if (Math.min(harmful, harmless) >= ENOUGH) return { here: true, rates: { hits: counts.tp, harmful, alarms: counts.fp, harmless } };
  return calibration && { here: false, rates: ratesAt(calibration, toIndex(counts.t)) };
}

// Known at once, before and without any comparison: what the labels of the file say.
function writeCheck(found) {
  const known = counts.tp + counts.fn, check = $('.es-check'), labelled = counts.labelled;
  check.hidden = !labelled;
  if (!labelled) return;
  const share = known / labelled, apart = found && !found.why && labelled === counts.total && (share < found.low || share > found.high);
  check.textContent = `${found ? 'For comparison: ' : ''}${percent(share)} of the ${number(labelled)} labelled rows are harmful by their labels.`
    + (apart ? ' The two disagree: the calibration does not hold for this file, or the labels do not.' : '');
}

function writeEstimate() {
  $('.es-assumes').hidden = !calibration;
  if (!calibration) { $('.es-big').hidden = true; $('.es-why').textContent = ''; writeCheck(null); return null; }
  const rates = ratesAt(calibration, toIndex(counts.t)), found = poisonRate(counts.flagged, counts.total, rates);
  $('.es-big').hidden = Boolean(found.why);
  $('.es-why').textContent = found.why || '';
  if (!found.why) {
    $('.es-big b').textContent = percent(found.value);
    $('.es-big span').textContent = `(${span([found.low, found.high])} %), about ${number(found.value * counts.total)} of ${number(counts.total)} rows`;
  }
  writeCheck(found);
  const left = calibration.excluded ? ` ${number(calibration.excluded)} of its prompts are in this file too and were left out.` : '';
  $('.es-assumes').textContent = `The flagged share, corrected for misses and false alarms (Rogan-Gladen; the 95 % interval of Lang and Reiczigel counts the calibration's own error). `
    + `It assumes that rows of this file score like the teacher's ${number(rates.harmful)} harmful and ${number(rates.harmless)} harmless calibration prompts: see Drift.${left}`;
  return found.why ? null : found.value;
}

function writeDial(estimated) {
  const from = source(), facts = $('.es-facts');
  $('.es-dial').hidden = !from;
  if (!from) return;
  if (!moved && estimated !== null) prevalence.value = Math.log10(Math.min(0.5, Math.max(0.001, estimated)));
  $('.es-follow').hidden = !moved || estimated === null;
  const share = Math.pow(10, Number(prevalence.value)), { rates } = from;
  $('.es-assumed').textContent = percent(share, share < 0.01 ? 2 : 1);
  prevalence.setAttribute('aria-valuetext', percent(share, 2));
  const precision = precisionIf(share, rates), harmless = (1 - share) * counts.total, harmful = share * counts.total;
  const pace = Math.min(3600, Math.max(1, Number(seconds.value) || 20));
  const lines = [
    ['Flagged rows that are harmful', shareText(precision), ''],
    ['Harmless rows removed', number((harmless * rates.alarms) / rates.harmless), interval(rates.alarms, rates.harmless, harmless)],
    ['Harmful rows that stay', number((harmful * (rates.harmful - rates.hits)) / rates.harmful), interval(rates.harmful - rates.hits, rates.harmful, harmful)],
    ['Reading all flagged rows', readingTime(counts.flagged, pace), `${number(counts.flagged)} rows`],
  ];
  facts.replaceChildren(...lines.flatMap(([name, value, more]) => [h('dt', { text: name }), h('dd', {}, h('b', { text: value }), more ? h('span', { text: `  (${more})` }) : null)]));
  $('.es-source').textContent = from.here
    ? `With the recall and false-positive rate of this file's ${number(rates.harmful + rates.harmless)} labelled rows; 95 % intervals (Wilson; precision on the log odds).`
    : `With the recall and false-positive rate of ${number(rates.harmful + rates.harmless)} calibration prompts; 95 % intervals (Wilson; precision on the log odds).`;
}

function write() {
  if (!counts || !data) return;
  writeDial(writeEstimate());
  $('.es-body').toggleAttribute('data-alone', $('.es-dial').hidden);
}

const load = lastWins(async (asked) => {
  const reply = await server.srv_shift({ dataset: asked.dataset, key: asked.key });
  if (asked !== data) return;
  const none = $('.es-none'), shift = reply && reply.ok ? reply.shift : null;
  none.hidden = Boolean(shift);
  none.textContent = (reply && !reply.ok && reply.error) || 'This teacher has no calibration scores, so nothing can be estimated from its flags. Prepare it again.';
  calibration = shift && { harmful: suffixCounts(shift.harmful), harmless: suffixCounts(shift.harmless), excluded: shift.excluded };
  rs.calibration = shift && { dataset: asked.dataset, key: asked.key, ...calibration, shift };
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
  if (before === `${data.dataset} ${data.key}`) { write(); return; }
  counts = null;
  calibration = rs.calibration = null;
  moved = false;
  prevalence.value = -2;
  $('.es-none').hidden = false;
  $('.es-none').textContent = 'The teacher\u2019s calibration prompts are being compared with this file. The first time this takes some seconds; the line can be moved meanwhile.';
  load(data);
  rs.emit('rs:threshold-wanted');
}
watch('value', draw);
draw();
