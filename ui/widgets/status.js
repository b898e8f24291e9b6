// One line that says how an action ended, in view of whoever pressed for it. value = {text, kind: quiet | done | note | error}
const draw = () => {
  const line = element.querySelector('.rs-status');
  const {text = '', kind = 'quiet'} = props.value || {};
  line.textContent = text;
  line.dataset.kind = kind;
  line.hidden = !text;
  if (text && kind !== 'quiet') window.rs.answered(line);
};
watch('value', draw);
draw();
