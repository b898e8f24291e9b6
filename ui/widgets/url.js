// The view in the address, so that a link or a reload shows the same: small named values, null takes one away.
const getUrl = (name) => new URL(location.href).searchParams.get(name);
function putUrl(changes) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === '') url.searchParams.delete(name);
    else url.searchParams.set(name, String(value));
  }
  if (url.href !== location.href) history.replaceState(history.state, '', url);
}

// A list of its own, not a part of what is listed already.
const ANEW = { side: null, low: null, high: null, facets: null, other: null, change: null, search: null, sql: null, decided: null };

// Narrows the row list, and brings it into view: a change that nobody sees is none.
function listRows(change) {
  rs.emit('rs:filter', change);
  const rows = document.getElementById('rows'), still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  if (rows) rows.scrollIntoView({ block: 'start', behavior: still ? 'auto' : 'smooth' });
}
