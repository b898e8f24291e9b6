// A heading whose text comes from the person's own data. value = {title, note}
const draw = () => {
  element.querySelector('h2').textContent = props.value?.title || '';
  element.querySelector('span').textContent = props.value?.note || '';
};
watch('value', draw);
draw();
