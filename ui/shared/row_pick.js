// The row of choices that narrow the table: a property and its value, a decision, a range of scores. Needs dom.js and row_filter.js.
// ask() fetches the choices; change(patch) applies one; filter() is the one in use.
function makePick(root, { ask, change, filter }) {
  const find = (selector) => root.querySelector(selector);
  const facet = find('.rt-facet'), label = find('.rt-label'), decided = find('.rt-decided'), low = find('.rt-low'), high = find('.rt-high');
  let facets = [];
  const option = (value, text) => h('option', { value, text });
  const titles = (name) => (facets.find((one) => one.name === name) || { title: name }).title;
  // Signs that hide or turn text are spelled out by the server; a label that it has not told yet is written without them.
  const shown = (name, label) => {
    const found = (facets.find((one) => one.name === name) || { labels: [] }).labels.find((one) => one.label === label);
    return found ? found.shown : label.replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, '\u00b7').slice(0, 60);
  };

  function labels() {
    const found = facets.find((one) => one.name === facet.value);
    const shown = found ? found.labels : [];
    label.replaceChildren(option('', found ? 'any' : '\u2013'), ...shown.map((one, place) => option(String(place), `${one.shown} (${number(one.rows)})`)));
    label.disabled = !found;
    const chosen = found && filter().facets.find(([name]) => name === found.name);
    label.value = chosen ? String(shown.findIndex((one) => one.label === chosen[1])) : '';
  }
  function draw() {
    decided.value = filter().decided;
    low.value = filter().low === null ? '' : filter().low.toFixed(3);
    high.value = filter().high === null ? '' : filter().high.toFixed(3);
    labels();
  }
  async function load() {
    const reply = await ask();
    if (!reply || !reply.ok) return;
    facets = reply.facets;
    facet.replaceChildren(option('', 'none'), ...facets.map((one) => option(one.name, one.title)));
    if (!facet.value && facets.length) facet.value = facets[0].name;
    draw();
  }
  const edge = (name, entry) => {
    const value = entry.value === '' ? null : Number(entry.value);
    entry.setCustomValidity(value === null || (value >= -1 && value <= 1) ? '' : 'A score lies between \u22121 and 1.');
    if (entry.reportValidity()) change({ [name]: value });
  };

  decided.replaceChildren(option('any', 'any'), ...Object.entries(DECIDED).map(([value, text]) => option(value, text.replace('decided: ', ''))));
  facet.addEventListener('change', labels);
  label.addEventListener('change', () => {
    const found = facets.find((one) => one.name === facet.value);
    if (found) change({ facet: [found.name, label.value === '' ? null : found.labels[Number(label.value)].label] });
  });
  decided.addEventListener('change', () => change({ decided: decided.value }));
  low.addEventListener('change', () => edge('low', low));
  high.addEventListener('change', () => edge('high', high));
  return { load, draw, titles, shown, forget: () => { facets = []; }, get known() { return facets.length > 0; } };
}
