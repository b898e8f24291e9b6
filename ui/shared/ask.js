// A note with one thing to do about it. value = {title, text, action} or null; without an action it only tells. Event: 'act' {}.
const box = element.querySelector('.rs-note'), button = element.querySelector('button');
function draw() {
  const { title = '', text = '', action = '' } = props.value || {};
  element.closest('.block').hidden = box.hidden = !title;
  box.querySelector('strong').textContent = `${title}.`;
  box.querySelector('span').textContent = text;
  button.hidden = !action;
  button.disabled = false;
  button.textContent = action;
}
button.addEventListener('click', () => { button.disabled = true; trigger('act', {}); });
watch('value', draw);
draw();
