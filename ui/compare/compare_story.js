// The comparison in words: headline, and which runs are shown. dom.js comes first.
// value = {headline: [text], said, own}; the event "usual" asks for the runs that are shown to begin with.
const $ = (selector) => element.querySelector(selector);
const together = (text) => text.replace(/ (<|=|%|points) ?/g, (found) => found.replaceAll(' ', '\u00a0').replace(/(%|points)\u00a0$/, '$1 '));

function draw() {
  const { headline = [], said = '', own = false } = props.value || {};
  $('.cs-lines').replaceChildren(...headline.map((text) => h('p', { text: together(text) })));
  $('.cs-shown').hidden = !said;
  $('.cs-shown span').textContent = said;
  $('.cs-usual').hidden = !own;
}

$('.cs-usual').addEventListener('click', () => trigger('usual', {}));
watch('value', draw);
draw();
