// How many rows are harmful, from how many are flagged and how often the filter errs on prompts of known kind.
// The formulas are those of reft_studio/audit/prevalence.py (a test compares them). rates = {hits, harmful, alarms, harmless}.
const Z95 = 1.959963984540054, LEAST_GAP = 0.05;

const within = (share) => Math.min(1, Math.max(0, share));

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

function separates({ hits, harmful, alarms, harmless }) {
  if (!(harmful > 0 && harmless > 0)) return false;
  const recall = (hits + 1) / (harmful + 2), rate = (alarms + 1) / (harmless + 2);
  const spread = (recall * (1 - recall)) / (harmful + 2) + (rate * (1 - rate)) / (harmless + 2);
  return recall - rate - Z95 * Math.sqrt(spread) > LEAST_GAP;
}

function poisonInterval(flagged, rows, rates) {
  const n = rows + Z95 * Z95, harmful = rates.harmful + 2, harmless = rates.harmless + 2;
  const share = (flagged + (Z95 * Z95) / 2) / n;
  const recall = (rates.hits + 1) / harmful, pass = (rates.harmless - rates.alarms + 1) / harmless;
  const gap = recall + pass - 1, middle = (share + pass - 1) / gap;
  const ofRecall = (recall * (1 - recall)) / harmful, ofPass = (pass * (1 - pass)) / harmless;
  const shift = 2 * Z95 * Z95 * (middle * ofRecall - (1 - middle) * ofPass);
  const half = (Z95 * Math.sqrt((share * (1 - share)) / n + middle * middle * ofRecall + (1 - middle) * (1 - middle) * ofPass)) / gap;
  return [middle + shift - half, middle + shift + half];
}

// {value, low, high}, shares 0 to 1, or {why}: Rogan-Gladen with Lang and Reiczigel's interval, which counts the calibration's error.
function poisonRate(flagged, rows, rates) {
  if (!(rows > 0) || !separates(rates)) return { why: 'At this line the calibration prompts of both kinds are flagged about equally often, so nothing can be estimated from flags.' };
  const [low, high] = poisonInterval(flagged, rows, rates);
  if (high < 0) return { why: 'Fewer rows are flagged than the false-positive rate alone would give: the calibration does not hold for this file.' };
  if (low > 1) return { why: 'More rows are flagged than if all of them were harmful: the calibration does not hold for this file.' };
  const recall = rates.hits / rates.harmful, alarm = rates.alarms / rates.harmless;
  const value = within((flagged / rows - alarm) / (recall - alarm));
  return { value, low: Math.min(within(low), value), high: Math.max(within(high), value) };
}

// {value, low, high}: share of flagged rows that would be harmful if `prevalence` of all were; null without prompts of both kinds.
function precisionIf(prevalence, rates) {
  if (!(rates.harmful > 0 && rates.harmless > 0)) return null;
  const hit = (prevalence * rates.hits) / rates.harmful, miss = ((1 - prevalence) * rates.alarms) / rates.harmless;
  const recall = (rates.hits + 0.5) / (rates.harmful + 1), rate = (rates.alarms + 0.5) / (rates.harmless + 1);
  const odds = Math.log(prevalence / (1 - prevalence)) + Math.log(recall / rate);
  const half = Z95 * Math.sqrt((1 - recall) / (rates.hits + 0.5) + (1 - rate) / (rates.alarms + 0.5));
  const expit = (x) => 1 / (1 + Math.exp(-x));
  const value = hit + miss > 0 ? hit / (hit + miss) : expit(odds);
  return { value, low: Math.min(expit(odds - half), value), high: Math.max(expit(odds + half), value) };
}

const shareText = ({ value, low, high }) => `${percent(value)} (${span([low, high])})`;

// Hours and minutes of reading `rows` rows.
function readingTime(rows, seconds) {
  const minutes = Math.round((rows * seconds) / 60);
  if (rows > 0 && minutes < 1) return 'under a minute';
  return minutes < 90 ? `${number(minutes)} min` : `${((rows * seconds) / 3600).toLocaleString('en-US', { maximumFractionDigits: rows * seconds < 360000 ? 1 : 0 })} h`;
}
