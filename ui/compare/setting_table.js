// The table of setting_rows.js on its own: its value is what that draws. dom.js, marks.js and setting_rows.js come first.
const draw = () => settingRows(element.firstElementChild, props.value || {});
watch('value', draw);
draw();
