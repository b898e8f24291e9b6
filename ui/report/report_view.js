// A report in short, from its JSON twin, and the way to open it: the file is fetched and shown from memory in a new tab, since
// the server hands HTML out as a download only. dom.js comes first. value = {report, url, open, empty}
const page = element.querySelector('.rv-page'), none = element.querySelector('.rv-none');
const $ = (name) => element.querySelector(`.rv-${name}`);
const link = $('open');
let blob = null, shown = null;

const items = (texts) => (texts || []).map((text) => h('li', { text }));

async function fetched(url) {
  if (shown === url && blob) return blob;
  if (blob) URL.revokeObjectURL(blob);
  const answer = await fetch(url);
  if (!answer.ok) return null;
  blob = URL.createObjectURL(new Blob([await answer.text()], { type: 'text/html;charset=utf-8' }));
  shown = url;
  return blob;
}

async function offer(value) {
  link.hidden = true;
  const url = await fetched(value.url);
  if (!url) return;
  link.href = url;
  link.hidden = false;
  if (value.open) link.click();
}

function draw() {
  const value = props.value || {}, report = value.report;
  page.hidden = !report;
  none.hidden = Boolean(report) || (Boolean(props.value) && !value.empty);
  none.toggleAttribute('data-waiting', !props.value);
  none.textContent = props.value ? value.empty || '' : 'Loading…';
  if (!report) return;
  page.querySelector('h2').textContent = report.title;
  $('draft').hidden = $('why').hidden = !report.draft.length;
  $('why').textContent = report.draft.join(' ');
  $('redacted').textContent = report.redacted ? 'without row texts' : 'with row texts';
  $('when').textContent = report.when;
  $('findings').replaceChildren(...items(report.findings));
  $('contents').replaceChildren(...items(report.contents));
  $('limits').replaceChildren(...items(report.limits));
  $('limits-title').hidden = !report.limits.length;
  if (value.url) offer(value);
}

watch('value', draw);
draw();
