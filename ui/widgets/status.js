// One line that says how an action ended. value = {text, kind: quiet | done | note | error}
const draw = () => {
  const line = element.querySelector('.rs-status');
  const {text = '', kind = 'quiet'} = props.value || {};
  line.textContent = text;
  line.dataset.kind = kind;
  line.hidden = !text;
};
watch('value', draw);
draw();
