// What the line did to finetuned models, in words and as a table. dom.js comes first.
// value = {what, empty, rows: [[kind, line, removed, seeds, hs, fa]], cost, left_out}
const HEADS = ['Rows removed', 'Line', 'How many', 'Seeds', 'HS', 'FA'];
const $ = (selector) => element.querySelector(selector);
const put = (selector, text) => { $(selector).hidden = !text; $(selector).textContent = text || ''; };

function draw() {
  const { what = '', empty = '', rows = [], cost = '', left_out: left = '' } = props.value || {};
  put('.oc-what', what);
  put('.oc-empty', empty);
  put('.oc-cost', cost);
  put('.oc-left', left);
  $('.rs-table-wrap').hidden = !rows.length;
  $('thead tr').replaceChildren(...HEADS.map((text) => h('th', { scope: 'col', text })));
  $('tbody').replaceChildren(...rows.map((cells) => h('tr', {}, ...cells.map((text) => h('td', { text })))));
}
watch('value', draw);
draw();
