// The newest sample answers of the model in training. dom.js comes first. An answer: {set, name, prompt, answer, verdict, bad}.
function answerList(host) {
  const revealed = new Set();
  let answers = [], drawn = '';

  function one(entry, at) {
    const hidden = entry.set === 'harmful' && window.rs.masked, hide = hidden && !revealed.has(at);
    const reveal = h('button', { type: 'button', class: 'rs-button', text: hide ? 'Reveal' : 'Mask again', hidden: !hidden });
    reveal.onclick = () => { if (revealed.has(at)) revealed.delete(at); else revealed.add(at); draw(true); };
    return h('article', { class: 'lr-answer' },
      h('header', {}, h('small', { text: entry.name }), h('span', { class: 'rs-badge', 'data-kind': entry.bad ? 'flag' : 'keep', text: entry.verdict }), reveal),
      h('p', { class: 'lr-asked', text: hide ? maskedText(entry.prompt) : entry.prompt }),
      h('p', { text: hide ? maskedText(entry.answer) : entry.answer || '(empty answer)' }));
  }

  function draw(again) {
    const now = JSON.stringify([answers, window.rs.masked]);
    if (now === drawn && !again) return;
    drawn = now;
    host.replaceChildren(...answers.map(one));
  }

  return { show(found) { answers = found; draw(false); } };
}
