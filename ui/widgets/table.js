// A small table. props: columns, actions, empty, pick; value = {rows, selected, total}. Events: 'pick' {id}, 'act' {act, id}.
const {el} = window.rs;
const head = element.querySelector('thead tr'), body = element.querySelector('tbody');
const wrap = element.querySelector('.rs-table-wrap'), empty = element.querySelector('.rs-empty'), more = element.querySelector('.rs-table-more');

function cell(column, value) {
  const kind = column.kind === 'num' ? 'num' : column.kind === 'mono' ? 'rs-mono' : column.kind === 'badge' ? 'short' : column.kind;
  if (value && typeof value === 'object') return el('td', kind, null, {}, [el('span', 'rs-badge', value.text, {'data-kind': value.kind})]);
  return el('td', kind, value ?? '–', kind === 'line' ? {title: value} : {});
}
function actionCell(row) {
  const place = el('td', 'act');
  const restore = () => place.replaceChildren(...props.actions.filter(({act}) => !(row.without || []).includes(act)).map(action => {
    const button = el('button', 'rs-button', action.label, {type: 'button', 'data-kind': action.confirm ? 'quiet' : ''});
    button.addEventListener('click', event => {
      event.stopPropagation();
      if (!action.confirm) return trigger('act', {act: action.act, id: row.id});
      ask(action);
    });
    return button;
  }));
  function ask(action) {
    const yes = el('button', 'rs-button', action.label, {type: 'button', 'data-kind': 'danger'});
    const no = el('button', 'rs-button', 'Cancel', {type: 'button'});
    yes.addEventListener('click', event => { event.stopPropagation(); restore(); trigger('act', {act: action.act, id: row.id}); });
    no.addEventListener('click', event => { event.stopPropagation(); restore(); });
    place.replaceChildren(el('span', 'rs-ask', null, {}, [el('span', 'rs-small', action.confirm), yes, no]));
    no.focus();
  }
  restore();
  return place;
}
function line(row, selected) {
  const node = el('tr', '', null, {'data-id': row.id, 'aria-selected': props.pick ? String(row.id === selected) : null});
  node.append(...props.columns.map(column => cell(column, row[column.key])));
  if (props.actions.length) node.append(actionCell(row));
  if (props.pick) {
    node.dataset.pick = '';
    node.tabIndex = 0;
    const pick = () => trigger('pick', {id: row.id});
    node.addEventListener('click', pick);
    node.addEventListener('keydown', event => { if (event.key === 'Enter' && event.target === node) pick(); });
  }
  return node;
}
function draw() {
  const waiting = !props.value;  // nobody knows yet whether there are rows
  const {rows = [], selected = null, total = 0} = props.value || {};
  head.replaceChildren(...props.columns.map(column => el('th', column.kind === 'num' ? 'num' : '', column.label, {scope: 'col'})));
  if (props.actions.length) head.append(el('th', 'act', null, {'aria-label': 'Actions'}));
  body.replaceChildren(...rows.map(row => line(row, selected)));
  wrap.hidden = rows.length === 0;
  empty.hidden = rows.length > 0;
  empty.toggleAttribute('data-waiting', waiting);
  empty.textContent = waiting ? 'Loading…' : props.empty;
  more.hidden = total <= rows.length;
  more.textContent = `Showing ${rows.length} of ${window.rs.count(total)}.`;
  const caption = element.querySelector('caption');
  caption.hidden = !props.caption;
  caption.textContent = props.caption || '';
}
watch('value', draw);
draw();
