// Small buttons in a line. props.label, props.choices = [{id, text}]; event 'pick' {id}
const {el} = window.rs;
const box = element.firstElementChild;
box.firstElementChild.textContent = props.label;
for (const {id, text} of props.choices) {
  const button = el('button', 'rs-button', text, {type: 'button', 'data-id': id});
  button.addEventListener('click', () => trigger('pick', {id}));
  box.append(button);
}
