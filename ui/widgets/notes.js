// Banners, one under the other. dom.js comes first. value = [{text, kind: note | warn | flag}]
const box = element.firstElementChild;
function draw() {
  const notes = props.value || [];
  box.hidden = element.closest('.block').hidden = !notes.length;
  box.replaceChildren(...notes.map((note) => h('div', { class: 'rs-note', 'data-kind': note.kind, text: note.text })));
}
watch('value', draw);
draw();
