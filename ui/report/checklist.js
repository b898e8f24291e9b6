// What is there and what is missing. dom.js comes first. value = [{ok, text, note, action, href}]
const list = element.querySelector('.ck');
function icon(ok) {
  const path = ok ? 'M4 9.5l3 3l7-7' : 'M9 4.5v5.5M9 13v.6';
  return svg('svg', { viewBox: '0 0 18 18', width: 16, height: 16, role: 'img', 'aria-label': ok ? 'there' : 'missing' },
    svg('path', { d: path, style: `fill: none; stroke: var(${ok ? '--rs-keep' : '--rs-unsure'}); stroke-width: 2.2; stroke-linecap: round` }));
}
function draw() {
  if (!props.value) return list.replaceChildren(h('li', { class: 'rs-muted', text: 'Loading…' }));
  list.replaceChildren(...(props.value || []).map((item) => h('li', { 'data-ok': String(item.ok) }, icon(item.ok),
    h('span', {}, item.text, item.note ? h('small', { text: item.note }) : null), item.action ? h('a', { href: item.href, text: item.action }) : null)));
}
watch('value', draw);
draw();
