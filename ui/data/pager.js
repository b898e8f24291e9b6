// Previous and next. value = {offset, total, page}; event 'turn' {offset}
const [back, forth] = element.querySelectorAll('button');
function draw() {
  const {offset = 0, total = 0, page = 1} = props.value || {};
  element.querySelector('span').textContent = total ? `${window.rs.count(offset + 1)} to ${window.rs.count(Math.min(total, offset + page))} of ${window.rs.count(total)}` : '';
  back.disabled = offset <= 0;
  forth.disabled = offset + page >= total;
  element.querySelector('nav').hidden = total <= page;
}
for (const button of [back, forth]) button.addEventListener('click', () => {
  const {offset, page} = props.value;
  trigger('turn', {offset: Math.max(0, offset + Number(button.dataset.way) * page)});
});
watch('value', draw);
draw();
