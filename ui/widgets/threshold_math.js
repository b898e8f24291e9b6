// Numbers of the threshold panel, without the page. Scores and thresholds are compared on a grid of 0.001 over [-1, 1]
// (reft_studio/data/grid.py): bin i holds the scores nearest to -1 + i/1000, a half goes to the even bin.
const GRID = 2001;

const halfToEven = (value) => { const up = Math.round(value); return up - value === 0.5 && up % 2 ? up - 1 : up; };
const toIndex = (value) => Math.min(GRID - 1, Math.max(0, halfToEven((value + 1) * 1000)));
// The one place in the browser that says what a threshold does to a row; a row without a score is not flagged.
const isFlagged = (score, threshold) => typeof score === 'number' && toIndex(score) >= toIndex(threshold);
const toValue = (index) => (index - 1000) / 1000;

// bins: [[index, rows, known harmful, known harmless], ...], empty ones left out. Entry i of each array counts bins >= i.
function suffixSums(bins) {
  const rows = new Float64Array(GRID + 1), harmful = new Float64Array(GRID + 1), harmless = new Float64Array(GRID + 1);
  for (const [index, n, positives, negatives] of bins) {
    rows[index] += n;
    harmful[index] += positives;
    harmless[index] += negatives;
  }
  for (let i = GRID - 1; i >= 0; i--) {
    rows[i] += rows[i + 1];
    harmful[i] += harmful[i + 1];
    harmless[i] += harmless[i + 1];
  }
  return { rows, harmful, harmless };
}

// Everything that is known at one threshold. Shares are 0 to 1, or null where nothing can be divided.
function countsAt(sums, index) {
  const total = sums.rows[0], flagged = sums.rows[index];
  const tp = sums.harmful[index], fp = sums.harmless[index];
  const fn = sums.harmful[0] - tp, tn = sums.harmless[0] - fp;
  const ratio = (part, whole) => (whole > 0 ? part / whole : null);
  return {
    total, flagged, kept: total - flagged, share: ratio(flagged, total),
    labelled: tp + fp + fn + tn, tp, fp, fn, tn,
    precision: ratio(tp, tp + fp), recall: ratio(tp, tp + fn), fpr: ratio(fp, fp + tn),
  };
}

// Wilson interval of k out of n, shares 0 to 1; the same formula as reft_studio.stats.wilson (a test compares them).
function wilson(k, n) {
  if (!(n > 0)) return null;
  const z = 1.959963984540054, p = k / n, d = 1 + (z * z) / n;
  const middle = (p + (z * z) / (2 * n)) / d;
  const half = (z / d) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return [k === 0 ? 0 : Math.max(0, middle - half), k === n ? 1 : Math.min(1, middle + half)];
}

// The part of the axis that is drawn: the data and every value in `also`, with a margin, on multiples of 0.05.
function axisRange(bins, also) {
  const points = bins.filter((bin) => bin[1] > 0).map((bin) => bin[0]).concat(also.map(toIndex));
  const low = points.reduce((a, b) => Math.min(a, b), GRID - 1), high = points.reduce((a, b) => Math.max(a, b), 0);
  if (!points.length) return [0, GRID - 1];
  const margin = Math.max(20, Math.round((high - low) * 0.04));
  return [Math.max(0, Math.floor((low - margin) / 50) * 50), Math.min(GRID - 1, Math.ceil((high + margin) / 50) * 50)];
}

// Adds fine bins up into about `wanted` bars whose edges lie on the grid, so that no bar is ever split or smoothed.
function bars(bins, low, high, wanted) {
  const width = Math.max(1, Math.ceil((high - low + 1) / wanted));
  const out = [];
  for (let from = low; from <= high; from += width) out.push({ from, to: from + width, rows: 0, harmful: 0, harmless: 0 });
  for (const [index, n, positives, negatives] of bins) {
    const bar = out[Math.floor((index - low) / width)];
    if (index < low || !bar) continue;
    bar.rows += n;
    bar.harmful += positives;
    bar.harmless += negatives;
  }
  return out;
}

// The threshold with the lowest cost when a missed harmful row costs `ratio` wrongly removed rows. Ties: the middle one.
function cheapest(sums, ratio) {
  if (!(sums.harmful[0] > 0 && sums.harmless[0] > 0)) return null;
  let best = Infinity, first = 0, last = 0;
  for (let i = 0; i < GRID; i++) {
    const cost = ratio * (sums.harmful[0] - sums.harmful[i]) + sums.harmless[i];
    if (cost < best) { best = cost; first = last = i; } else if (cost === best && last === i - 1) last = i;
  }
  return { index: Math.round((first + last) / 2), cost: best };
}

// Points of the ROC and precision-recall curves, one per distinct score of the grid, from strict to loose.
function curvePoints(sums) {
  const points = [];
  if (!(sums.harmful[0] > 0 && sums.harmless[0] > 0)) return points;
  for (let i = GRID; i >= 0; i--) {
    const tp = sums.harmful[i], fp = sums.harmless[i], last = points[points.length - 1];
    if (last && last.tp === tp && last.fp === fp) continue;
    points.push({ tp, fp, recall: tp / sums.harmful[0], fpr: fp / sums.harmless[0], precision: tp + fp > 0 ? tp / (tp + fp) : null });
  }
  return points;
}

// Area under the ROC curve: the chance that a harmful row scores above a harmless one, ties count half (exact on the grid).
function areaUnderRoc(points) {
  let area = 0;
  for (let i = 1; i < points.length; i++) area += ((points[i].fpr - points[i - 1].fpr) * (points[i].recall + points[i - 1].recall)) / 2;
  return points.length ? area : null;
}

// Two or three round tick values between low and high (values, not indices), at most `most` of them.
function ticks(low, high, most) {
  const span = high - low;
  const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1].find((size) => span / size <= most) || 1;
  const out = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9; k++) out.push(Math.round(k * step * 1000) / 1000);
  return out;
}

const number = (n) => Math.round(n).toLocaleString('en-US');
// Small shares keep two decimals: "0.0 to 0.0 %" would say less than is known.
const digitsOf = (share) => (share > 0 && share < 0.01 ? 2 : 1);
const percent = (share, digits = digitsOf(share)) => (share === null || share === undefined ? 'n/a' : `${(100 * share).toFixed(digits)} %`);
const signed = (value) => (Math.round(value * 1000) < 0 ? '\u2212' : '') + Math.abs(value).toFixed(3);

// `0.02 to 0.05`, in percent, of two shares; both with the decimals that the upper one needs.
const span = ([low, high]) => `${(100 * low).toFixed(digitsOf(high))} to ${(100 * high).toFixed(digitsOf(high))}`;

// The one-sentence summary. `labels` says whether the file carries the truth for at least one row of each kind.
function sentence(counts) {
  const rows = `${counts.total === 1 ? 'row' : 'rows'} ${counts.flagged === 1 ? 'is' : 'are'}`;
  const head = `${number(counts.flagged)} of ${number(counts.total)} ${rows} flagged (${percent(counts.share)}).`;
  const positives = counts.tp + counts.fn, negatives = counts.fp + counts.tn;
  if (!positives && !negatives) return `${head} The file carries no labels, so how many of them are harmful is not known: review a sample.`;
  const parts = [head];
  if (positives) parts.push(`They include ${number(counts.tp)} of the ${number(positives)} rows known to be harmful; ${number(counts.fn)} would stay in.`);
  if (negatives) parts.push(`${number(counts.fp)} of ${number(negatives)} harmless rows would be removed wrongly.`);
  return parts.join(' ');
}
