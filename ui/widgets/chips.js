// Filters in force, each with a button that takes it off. value = [{id, text}]; event 'drop' {id}
const {el} = window.rs;
const box = element.firstElementChild;
function draw() {
  const chips = props.value || [];
  element.closest('.block').hidden = box.hidden = !chips.length;
  box.replaceChildren(...chips.map(({id, text}) => {
    const button = el('button', '', null, {type: 'button', 'aria-label': `Take off: ${text}`}, [el('span', '', text), el('b', '', '×')]);
    button.addEventListener('click', () => trigger('drop', {id}));
    return button;
  }));
}
watch('value', draw);
draw();
