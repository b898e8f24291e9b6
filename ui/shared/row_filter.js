// A filter of rows, without the page: the same names as RowFilter of reft_studio/studio/row_filter.py, there and in the address.
const NO_FILTER = { side: 'all', low: null, high: null, search: '', facets: [], decided: 'any', sql: '', other: null, change: null, order: 'score' };
const DECIDED = { open: 'nobody decided', keep: 'decided: keep', remove: 'decided: remove', relabel: 'decided: relabel', unsure: 'decided: unsure', conflict: 'reviewers differ' };
const ORDERS = ['score', '-score', 'borderline', 'file'];
const SIDES = ['all', 'flagged', 'kept', 'unscored', 'unreached'];
const PARAMETERS = ['side', 'low', 'high', 'search', 'label', 'decided', 'sql', 'other', 'change', 'order'];

// As values of an address: texts, and a list of `label`; what is at its default is left out.
function toQuery(filter) {
  const query = {};
  for (const name of ['side', 'search', 'decided', 'sql', 'change', 'order']) if (filter[name] && filter[name] !== NO_FILTER[name]) query[name] = filter[name];
  for (const name of ['low', 'high']) if (filter[name] !== null) query[name] = filter[name].toFixed(3);
  if (filter.facets.length) query.label = filter.facets.map(([name, label]) => `${name}:${label}`);
  if (filter.other) query.other = `${filter.other[0]}:${Number(filter.other[1]).toFixed(3)}`;
  return query;
}

// The filter of an address; what cannot be is left out, since a person may have typed it.
function fromSearch(text) {
  const given = new URLSearchParams(text), filter = { ...NO_FILTER, facets: [] };
  const one = (name, allowed) => { const value = given.get(name); if (value && (!allowed || allowed.includes(value))) filter[name] = value; };
  one('side', SIDES);
  one('decided', Object.keys(DECIDED));
  one('order', ORDERS);
  one('change', ['added', 'dropped', 'both']);
  one('search');
  one('sql');
  for (const name of ['low', 'high']) { const value = Number(given.get(name) || NaN); if (value >= -1 && value <= 1) filter[name] = value; }
  filter.facets = given.getAll('label').filter((label) => label.indexOf(':') > 0).map((label) => [label.slice(0, label.indexOf(':')), label.slice(label.indexOf(':') + 1)]);
  const other = given.get('other') || '', cut = other.lastIndexOf(':'), line = Number(other.slice(cut + 1) || NaN);
  if (cut > 0 && line >= -1 && line <= 1) filter.other = [other.slice(0, cut), line];
  return filter;
}

// The address with the filter in it; other parameters stay.
function withFilter(href, filter) {
  const url = new URL(href), query = toQuery(filter);
  for (const name of PARAMETERS) url.searchParams.delete(name);
  for (const [name, value] of Object.entries(query)) for (const one of [].concat(value)) url.searchParams.append(name, one);
  return url.href;
}

// `change` names what is to be different; {facet: [name, label]} puts a label of a facet in place of its others, null takes them off.
function patched(filter, change) {
  const next = { ...filter, facets: [...filter.facets] };
  for (const [name, value] of Object.entries(change)) {
    if (name === 'facet') {
      next.facets = next.facets.filter(([other]) => other !== value[0]);
      if (value[1] !== null && value[1] !== undefined) next.facets.push([value[0], value[1]]);
    } else if (name in NO_FILTER) next[name] = value === null ? NO_FILTER[name] : value;
  }
  if ('other' in change && !change.other) next.change = null;
  return next;
}

// What is asked beside side and order, each as words with the change that takes it off. `title` names a facet, `sign` writes a score,
// `shown` is how a label of a file may be written on the page.
function chipsOf(filter, title, sign, shown = (name, label) => label) {
  const chips = [];
  const { low, high } = filter;
  if (low !== null || high !== null) {
    const words = low === null ? `up to ${sign(high)}` : high === null ? `from ${sign(low)}` : low === high ? sign(low) : `${sign(low)} to ${sign(high)}`;
    chips.push({ kind: 'Score', text: words, off: { low: null, high: null } });
  }
  for (const pair of filter.facets) chips.push({ kind: title(pair[0]), text: shown(pair[0], pair[1]), off: { facets: filter.facets.filter((other) => other !== pair) } });
  if (filter.decided !== 'any') chips.push({ kind: 'Decision', text: DECIDED[filter.decided], off: { decided: 'any' } });
  if (filter.other) {
    const words = { added: 'only flagged there', dropped: 'only flagged here' }[filter.change] || 'flagged on one side only';
    chips.push({ kind: 'Compared', text: `${words}, line there at ${sign(Number(filter.other[1]))}`, off: { other: null, change: null } });
  }
  if (filter.search) chips.push({ kind: 'Words', text: filter.search, off: { search: '' } });
  if (filter.sql) chips.push({ kind: 'SQL', text: filter.sql.replace(/\s+/g, ' ').slice(0, 80), off: { sql: '' } });
  return chips;
}
