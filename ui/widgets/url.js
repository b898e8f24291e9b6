// The view in the address, so that a link or a reload shows the same: small named values, null takes one away.
const getUrl = (name) => new URL(location.href).searchParams.get(name);
function putUrl(changes) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === '') url.searchParams.delete(name);
    else url.searchParams.set(name, String(value));
  }
  if (url.href !== location.href) history.replaceState(history.state, '', url);
}
