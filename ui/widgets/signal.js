// Nothing to see: tells Python when the state of the project has changed under the page (a job made a dataset, a run ended).
window.rs.on('rs:changed', () => { if (element.isConnected) trigger('changed', {}); });
