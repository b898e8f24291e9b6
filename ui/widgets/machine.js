// Short facts in a line. value = {facts: [{label, value, kind}]}
const {el} = window.rs;
function draw() {
  const facts = props.value?.facts || [];
  element.querySelector('dl').replaceChildren(...facts.map(({label, value, kind}) =>
    el('div', '', null, {}, [el('dt', '', label), el('dd', '', value, {'data-kind': kind})])));
}
watch('value', draw);
draw();
