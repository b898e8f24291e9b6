// The lists and words of a recipe as fields. A field of Gradio's swallows the first letter that is typed after its value was set.
// dom.js comes first. props.fields = [{name, label, help, choices}]; value = {name: text}; event "edit" when somebody changed one.
const box = element.querySelector('.sf');
const inputs = new Map(props.fields.map(({ name, label, help, choices }) => {
  const node = choices ? h('select', { name }, ...choices.map((text) => h('option', { value: text, text }))) : h('input', { type: 'text', name, spellcheck: 'false' });
  node.addEventListener('input', () => {
    props.value = { ...props.value, [name]: node.value };
    trigger('edit', {});
  });
  box.append(h('label', {}, h('span', { text: label }), h('small', { text: help }), node));
  return [name, node];
}));

function draw() {
  for (const [name, node] of inputs) {
    const told = props.value?.[name] ?? '';
    if (node.value !== told) node.value = told;
  }
}
watch('value', draw);
draw();
