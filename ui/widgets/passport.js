// What a dataset is, for the record. value = {items: [{label, value, note, copy}]}; `copy` puts a button beside a value that is copied whole.
const {el} = window.rs;
const list = element.querySelector('dl');

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch (error) { // no permission: select it, so that the keyboard can copy it
    getSelection().selectAllChildren(button.previousElementSibling);
    button.textContent = 'Selected';
  }
  setTimeout(() => { button.textContent = 'Copy'; }, 1600);
}
function item({label, value, note, copy: whole}) {
  const cell = el('dd', '', null, {}, [el('span', whole ? 'rs-mono' : '', value)]);
  if (whole) {
    const button = el('button', 'rs-button', 'Copy', {type: 'button', 'aria-label': `Copy ${label}`});
    button.addEventListener('click', () => copy(value, button));
    cell.append(button);
  }
  if (note) cell.append(el('small', '', note));
  return [el('dt', '', label), cell];
}
function draw() {
  list.replaceChildren(...(props.value?.items || []).flatMap(item));
}
watch('value', draw);
draw();
