// A banner that stays as long as what it says is true. value = {text, kind: note | warn | flag} or null
const box = element.querySelector('.rs-note');
function draw() {
  const { text = '', kind = 'warn' } = props.value || {};
  element.closest('.block').hidden = box.hidden = !text;
  box.dataset.kind = kind;
  box.textContent = text;
}
watch('value', draw);
draw();
