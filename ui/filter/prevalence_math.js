// What a line costs, from the one share of harmful rows and the filter's rates on prompts of known kind. The formulas are those of
// reft_studio/audit/prevalence.py, sample.py and estimates.py (a test compares them). rates = {hits, harmful, alarms, harmless}.
const Z95 = 1.959963984540054, EDGE = 1e-6;

const inside = (share) => Math.min(1 - EDGE, Math.max(EDGE, share));
const logit = (share) => Math.log(share / (1 - share));
const expit = (x) => 1 / (1 + Math.exp(-x));
const exactly = (share) => ({ value: share, low: share, high: share });

// Rates at a line: harmful and harmless are suffix sums of calibration counts, entry i counts bins >= i.
const ratesAt = (calibration, index) => ({
  hits: calibration.harmful[index], harmful: calibration.harmful[0], alarms: calibration.harmless[index], harmless: calibration.harmless[0],
});

// Suffix sums of [[bin, count], …].
function suffixCounts(pairs) {
  const sums = new Float64Array(GRID + 1);
  for (const [index, n] of pairs) sums[index] += n;
  for (let i = GRID - 1; i >= 0; i--) sums[i] += sums[i + 1];
  return sums;
}

// {value, low, high}: share of flagged rows that are harmful if `rate` (such a share too) of all are; null without prompts of both kinds.
function precisionAt(rate, rates) {
  if (!(rates.harmful > 0 && rates.harmless > 0)) return null;
  const [share, low, high] = [rate.value, rate.low, rate.high].map(inside);
  const hit = (share * rates.hits) / rates.harmful, miss = ((1 - share) * rates.alarms) / rates.harmless;
  const recall = (rates.hits + 0.5) / (rates.harmful + 1), alarm = (rates.alarms + 0.5) / (rates.harmless + 1);
  const odds = logit(share) + Math.log(recall / alarm);
  const half = Z95 * Math.sqrt((1 - recall) / (rates.hits + 0.5) + (1 - alarm) / (rates.alarms + 0.5));
  const lower = expit(odds - Math.hypot(half, logit(share) - logit(low))), upper = expit(odds + Math.hypot(half, logit(high) - logit(share)));
  const value = hit + miss > 0 ? hit / (hit + miss) : expit(odds);
  return { value, low: Math.min(lower, value), high: Math.max(upper, value) };
}

// {value, low, high}: harmful rows below the line, of `kept` ones in a file of `rows`; null without harmful prompts.
function stayingAt(rate, rates, rows, kept) {
  if (!(rates.harmful > 0)) return null;
  const misses = rates.harmful - rates.hits, miss = (misses + 0.5) / (rates.harmful + 1);
  const [share, low, high] = [rate.value, rate.low, rate.high].map(inside);
  const half = Z95 * Math.sqrt((1 - miss) / (misses + 0.5)), middle = Math.log(share * miss);
  const lower = Math.min(kept, rows * Math.exp(middle - Math.hypot(half, Math.log(share / low))));
  const upper = Math.min(kept, rows * Math.exp(middle + Math.hypot(half, Math.log(high / share))));
  const value = Math.min(kept, (rows * rate.value * misses) / rates.harmful);
  return { value, low: Math.min(lower, value), high: Math.max(upper, value) };
}

// Share of harmful rows among `rows` of the file, of which these random and known ones are part. Rows of both: [bin, harmful,
// unsure]. An unsure row is neither: it raises the upper end alone.
function sampledShare(drawn, known, rows) {
  if (!rows || !drawn.length) return null;
  const n = drawn.length, left = rows - known.length, part = left / rows;
  const sure = drawn.filter((row) => row[1]).length, doubt = drawn.filter((row) => row[2]).length;
  const counted = known.filter((row) => row[1]).length / rows, most = counted + known.filter((row) => row[2]).length / rows;
  const [low, high] = n >= left ? [sure / n, (sure + doubt) / n] : [wilson(sure, n)[0], wilson(sure + doubt, n)[1]];
  return { value: (part * sure) / n + counted, low: part * low + counted, high: part * high + most };
}

// What a line does by the server's estimate ({by, rate, drawn, known}): precision as a share, staying in rows; null where nothing may be said.
function atLine(estimate, counts, calibration) {
  const none = { precision: null, staying: null };
  if (!estimate || estimate.by === 'none') return none;
  if (estimate.by === 'labels') return { precision: counts.flagged ? exactly(counts.tp / counts.flagged) : null, staying: exactly(counts.fn) };
  const at = toIndex(counts.t);
  if (estimate.by === 'sample') {
    const over = (row) => row[0] >= at, under = (row) => row[0] < at;
    const stay = sampledShare(estimate.drawn.filter(under), estimate.known.filter(under), counts.kept);
    const scaled = stay && { value: counts.kept * stay.value, low: counts.kept * stay.low, high: counts.kept * stay.high };
    return { precision: sampledShare(estimate.drawn.filter(over), estimate.known.filter(over), counts.flagged), staying: scaled };
  }
  if (!calibration || !estimate.rate) return none;
  const rates = ratesAt(calibration, at);
  return { precision: precisionAt(estimate.rate, rates), staying: stayingAt(estimate.rate, rates, counts.total, counts.kept) };
}

// A share as `9.8 % (8.1 to 12.0)`, and rows as `3 (0 to 9)`; without an interval where it is exact.
const shareText = ({ value, low, high }) => (low === high ? percent(value) : `${percent(value)} (${span([low, high])})`);
const rowsText = ({ value, low, high }) => (low === high ? number(value) : `${number(value)} (${number(Math.floor(low))} to ${number(Math.ceil(high))})`);

// Hours and minutes of reading `rows` rows.
function readingTime(rows, seconds) {
  const minutes = Math.round((rows * seconds) / 60);
  if (rows > 0 && minutes < 1) return 'under a minute';
  return minutes < 90 ? `${number(minutes)} min` : `${((rows * seconds) / 3600).toLocaleString('en-US', { maximumFractionDigits: rows * seconds < 360000 ? 1 : 0 })} h`;
}
