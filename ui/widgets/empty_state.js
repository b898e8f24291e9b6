// What to do when there is nothing to show yet: one action. value = {title, text, action, page} or null.
// With a page the action is a link to it; without, the event "act" is sent.
const box = element.querySelector('.rs-empty');
const [title, text, link, button] = box.children;
function draw() {
  const value = props.value;
  element.closest('.block').hidden = box.hidden = !value;
  if (!value) return;
  title.textContent = value.title;
  text.textContent = value.text;
  link.hidden = !value.page || !value.action;
  button.hidden = Boolean(value.page) || !value.action;
  link.textContent = button.textContent = value.action || '';
  if (value.page) link.href = value.page;
}
button.addEventListener('click', () => trigger('act', {}));
watch('value', draw);
draw();
