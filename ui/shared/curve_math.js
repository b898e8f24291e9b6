// Numbers behind the live curves; pure, so that they are tested without a browser.

// Exponential moving average without the pull of the start towards 0; gaps (null) stay gaps. The report's chart smooths the same way.
function smoothed(values, weight) {
  let past = 0, mass = 0;
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) return null;
    past = weight * past + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return past / mass;
  });
}

// 0.0012 as "1.2e-3", 12.345 as "12.3": three digits that fit a small label.
function brief(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size < 0.001 || size >= 1e5) return value.toExponential(1).replace('e+', 'e');
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 1 ? value.toFixed(2) : value.toFixed(3);
}

// Position of the value nearest to `at` in a sorted list.
function nearest(sorted, at) {
  let low = 0, high = sorted.length - 1;
  while (low < high) { const middle = (low + high) >> 1; if (sorted[middle] < at) low = middle + 1; else high = middle; }
  return low > 0 && Math.abs(sorted[low - 1] - at) <= Math.abs(sorted[low] - at) ? low - 1 : low;
}
