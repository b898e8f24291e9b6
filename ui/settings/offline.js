// Offline self test. The outside address ends in .invalid, which names no machine anywhere, so even a failing test contacts nobody.
const {el} = window.rs;
const OUTSIDE = 'https://offline-test.invalid/';

function browserRequests() {
  const all = performance.getEntriesByType('resource').map(entry => entry.name).filter(name => !name.startsWith('data:') && !name.startsWith('blob:'));
  const foreign = all.filter(name => new URL(name, location.href).origin !== location.origin && name !== OUTSIDE);
  return {name: 'Requests of this page', ok: foreign.length === 0, value: foreign.length ? `${foreign.length} to other machines` : `${all.length}, all to this app`};
}
async function blocked() {
  let violated = false;
  const note = event => { if (event.blockedURI.startsWith(OUTSIDE.slice(0, -1))) violated = true; };
  document.addEventListener('securitypolicyviolation', note);
  try { await fetch(OUTSIDE, {mode: 'no-cors'}); } catch (error) { /* expected: the policy forbids it */ }
  await new Promise(resume => setTimeout(resume, 60));
  document.removeEventListener('securitypolicyviolation', note);
  return {name: 'An address outside', ok: violated, value: violated ? 'refused by the page’s policy' : 'was not refused'};
}
function line({name, ok, value}) {
  const badge = el('span', 'rs-badge', ok ? 'sound' : 'look here', {'data-kind': ok ? 'keep' : 'flag'});
  return el('tr', '', null, {}, [el('td', '', name), el('td', '', null, {}, [badge]), el('td', 'text', value)]);
}
const button = element.querySelector('button');
button.addEventListener('click', async () => {
  button.disabled = true;
  const reply = await server.srv_offline({});
  const ours = reply && reply.ok ? reply.checks : [{name: 'The app', ok: false, value: reply?.error || 'did not answer'}];
  const results = [...ours, browserRequests(), await blocked()];
  element.querySelector('tbody').replaceChildren(...results.map(line));
  element.querySelector('.rs-table-wrap').hidden = false;
  button.textContent = 'Run the test again';
  button.disabled = false;
});
