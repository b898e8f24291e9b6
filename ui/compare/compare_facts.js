// What the numbers of a comparison rest on. dom.js comes first. value = [[name, text], …]
const list = element.querySelector('dl');
function draw() {
  const facts = props.value || [];
  element.closest('.block').hidden = !facts.length;
  list.replaceChildren(...facts.map(([name, text]) => h('div', {}, h('dt', { text: name }), h('dd', { text }))));
}
watch('value', draw);
draw();
